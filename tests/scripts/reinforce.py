"""REINFORCE on a cart with a pole of our own; actions are drawn by NumPy from the policy's probabilities."""

import argparse
import math
from collections import deque

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from alike import report, same_weights

parser = argparse.ArgumentParser(description="REINFORCE")
parser.add_argument("--gamma", type=float, default=0.99, metavar="G", help="discount factor (default: 0.99)")
parser.add_argument("--steps", type=int, default=30, help="episodes")
args = parser.parse_args()
draw = np.random.default_rng(543)


class CartPole:
    """Euler steps of the equations in Barto, Sutton and Anderson (1983)."""

    def reset(self):
        self.state = draw.uniform(-0.05, 0.05, 4)
        return self.state

    def step(self, action):
        x, speed, angle, turning = self.state
        force = 10.0 if action == 1 else -10.0
        pull = (force + 0.05 * turning**2 * math.sin(angle)) / 1.1
        twist = 9.8 * math.sin(angle) - math.cos(angle) * pull
        twist /= 0.5 * (4.0 / 3.0 - 0.1 * math.cos(angle) ** 2 / 1.1)
        push = pull - 0.05 * twist * math.cos(angle) / 1.1
        self.state = self.state + 0.02 * np.array([speed, push, turning, twist])
        done = bool(abs(self.state[0]) > 2.4 or abs(self.state[2]) > 0.2094)
        return self.state, 1.0, done


class Policy(nn.Module):
    def __init__(self):
        super(Policy, self).__init__()
        self.affine1 = nn.Linear(4, 32)
        self.dropout = nn.Dropout(p=0.0)
        self.affine2 = nn.Linear(32, 2)
        self.saved_log_probs = []
        self.rewards = []

    def forward(self, x):
        x = F.relu(self.dropout(self.affine1(x)))
        return F.softmax(self.affine2(x), dim=1)


policy = same_weights(Policy())
optimizer = optim.Adam(policy.parameters(), lr=1e-2)
eps = np.finfo(np.float32).eps.item()


def select_action(state):
    state = torch.from_numpy(state).float().unsqueeze(0)
    probs = policy(state)
    action = int(draw.random() < probs[0, 1].item())
    policy.saved_log_probs.append(torch.log(probs[:, action]))
    return action


def finish_episode():
    R, policy_loss, returns = 0, [], deque()
    for r in policy.rewards[::-1]:
        R = r + args.gamma * R
        returns.appendleft(R)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + eps)
    for log_prob, R in zip(policy.saved_log_probs, returns):
        policy_loss.append(-log_prob * R)
    optimizer.zero_grad()
    policy_loss = torch.cat(policy_loss).sum()
    policy_loss.backward()
    optimizer.step()
    del policy.rewards[:]
    del policy.saved_log_probs[:]
    return policy_loss.item()


env, running_reward = CartPole(), 10
for episode in range(args.steps):
    state, ep_reward = env.reset(), 0
    for _ in range(1, 200):
        action = select_action(state)
        state, reward, done = env.step(action)
        policy.rewards.append(reward)
        ep_reward += reward
        if done:
            break
    running_reward = 0.05 * ep_reward + (1 - 0.05) * running_reward
    report(episode, finish_episode(), reward=ep_reward, running=running_reward)
