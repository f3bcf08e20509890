"""Proximal policy optimization of a point that should reach the middle, with distributions and their divergence."""

import argparse

import numpy as np
import torch
import torch.nn as nn
from alike import report, same_weights
from torch.distributions import Categorical, Normal, kl_divergence


class ActorCritic(nn.Module):
    def __init__(self, state_dim, action_dim):
        super(ActorCritic, self).__init__()
        self.actor = nn.Sequential(nn.Linear(state_dim, 16), nn.Tanh(), nn.Linear(16, action_dim), nn.Softmax(dim=-1))
        self.critic = nn.Sequential(nn.Linear(state_dim, 16), nn.Tanh(), nn.Linear(16, 1))
        self.mean, self.log_std = nn.Linear(state_dim, 1), nn.Parameter(torch.zeros(1))

    def evaluate(self, state, action):
        dist = Categorical(self.actor(state))
        return dist.log_prob(action), torch.squeeze(self.critic(state)), dist.entropy()

    def gaussian(self, state):
        return Normal(self.mean(state), self.log_std.exp().expand(state.size(0), 1))


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=15)
parser.add_argument("--eps-clip", type=float, default=0.2)
args = parser.parse_args()
draw = np.random.default_rng(0)
policy, old = same_weights(ActorCritic(2, 3)), ActorCritic(2, 3)
old.load_state_dict(policy.state_dict())
optimizer = torch.optim.Adam(
    [{"params": policy.actor.parameters(), "lr": 3e-3}, {"params": policy.critic.parameters(), "lr": 1e-2},
     {"params": [policy.log_std, *policy.mean.parameters()], "lr": 1e-2}]
)  # fmt: skip
MseLoss = nn.MSELoss()
for step in range(args.steps):
    states, actions, rewards = [], [], []
    place = draw.uniform(-1, 1, 2)
    for _ in range(20):
        with torch.no_grad():
            probs = old.actor(torch.FloatTensor(place))
        action = int((probs.cumsum(0) < float(draw.random())).sum().clamp(max=2))
        states.append(torch.FloatTensor(place))
        actions.append(action)
        place = place + np.array([0.1 * (action - 1), -0.1 * np.sign(place[1])])
        rewards.append(-abs(place[0]))
    returns, R = [], 0
    for reward in reversed(rewards):
        R = reward + 0.9 * R
        returns.insert(0, R)
    returns = torch.tensor(returns, dtype=torch.float32)
    returns = (returns - returns.mean()) / (returns.std() + 1e-7)
    old_states, old_actions = torch.stack(states).detach(), torch.tensor(actions)
    with torch.no_grad():
        old_logprobs, _, _ = old.evaluate(old_states, old_actions)
        before = old.gaussian(old_states)
    for _ in range(3):
        logprobs, values, entropy = policy.evaluate(old_states, old_actions)
        ratios = torch.exp(logprobs - old_logprobs)
        advantages = returns - values.detach()
        surr1 = ratios * advantages
        surr2 = torch.clamp(ratios, 1 - args.eps_clip, 1 + args.eps_clip) * advantages
        now = policy.gaussian(old_states)
        squashed = torch.tanh(now.mean)
        log_prob = now.log_prob(now.mean + 0.3) - torch.log(1 - squashed.pow(2) + 1e-6)
        loss = -torch.min(surr1, surr2) + 0.5 * MseLoss(values, returns) - 0.01 * entropy
        loss = loss.mean() + 0.1 * log_prob.mean() + kl_divergence(before, now).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    old.load_state_dict(policy.state_dict())
    report(step, loss.item(), reward=sum(rewards))
