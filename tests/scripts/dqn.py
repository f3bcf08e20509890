"""Deep Q-learning in a corridor with a pit: replay memory, a target network that follows softly, double Q values."""

import argparse
import random
from collections import deque, namedtuple
from itertools import count

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from alike import report, same_weights

Transition = namedtuple("Transition", ("state", "action", "next_state", "reward"))
CELLS, BATCH_SIZE, GAMMA, TAU = 8, 16, 0.9, 0.1
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Corridor:
    """Start in the middle; the left end is a pit, the right end pays; each step costs a little."""

    def reset(self):
        self.place = CELLS // 2
        return self.observe()

    def observe(self):
        return [1.0 if cell == self.place else 0.0 for cell in range(CELLS)]

    def step(self, action):
        if random.random() > 0.1:  # else it slips
            self.place += 1 if action else -1
        end = self.place in (0, CELLS - 1)
        reward = (1.0 if self.place else -1.0) if end else -0.02
        return self.observe(), reward, end


class ReplayMemory(object):
    def __init__(self, capacity):
        self.memory = deque([], maxlen=capacity)

    def push(self, *args):
        self.memory.append(Transition(*args))

    def sample(self, batch_size):
        return random.sample(self.memory, batch_size)

    def __len__(self):
        return len(self.memory)


class DQN(nn.Module):
    def __init__(self, n_observations, n_actions):
        super(DQN, self).__init__()
        self.layer1 = nn.Linear(n_observations, 24)
        self.value = nn.Linear(24, 1)
        self.advantage = nn.Linear(24, n_actions)

    def forward(self, x):
        x = F.relu(self.layer1(x))
        advantage = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(dim=-1, keepdim=True)


def optimize_model(memory, policy_net, target_net, optimizer):
    batch = Transition(*zip(*memory.sample(BATCH_SIZE)))
    non_final_mask = torch.tensor([s is not None for s in batch.next_state], device=device, dtype=torch.bool)
    non_final_next_states = torch.cat([s for s in batch.next_state if s is not None])
    state_batch, action_batch = torch.cat(batch.state), torch.cat(batch.action)
    state_action_values = policy_net(state_batch).gather(1, action_batch)
    next_state_values = torch.zeros(BATCH_SIZE, device=device)
    with torch.no_grad():
        best = policy_net(non_final_next_states).max(1).indices.unsqueeze(1)
        next_state_values[non_final_mask] = target_net(non_final_next_states).gather(1, best).squeeze(1)
    expected = (next_state_values * GAMMA) + torch.cat(batch.reward)
    loss = nn.SmoothL1Loss()(state_action_values, expected.unsqueeze(1))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(policy_net.parameters(), 100)
    optimizer.step()
    target_state, policy_state = target_net.state_dict(), policy_net.state_dict()
    for key in policy_state:
        target_state[key] = policy_state[key] * TAU + target_state[key] * (1 - TAU)
    target_net.load_state_dict(target_state)
    return loss.item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200, help="updates")
    args = parser.parse_args()
    random.seed(1)
    policy_net = same_weights(DQN(CELLS, 2)).to(device)
    target_net = DQN(CELLS, 2).to(device)
    target_net.load_state_dict(policy_net.state_dict())
    optimizer = optim.AdamW(policy_net.parameters(), lr=5e-3, amsgrad=True)
    memory, env, updates, ends = ReplayMemory(500), Corridor(), 0, deque(maxlen=20)
    while updates < args.steps:
        state = torch.tensor(env.reset(), dtype=torch.float32, device=device).unsqueeze(0)
        for t in count():
            if random.random() > max(0.1, 1 - updates / 100):
                with torch.no_grad():
                    action = policy_net(state).max(1)[1].view(1, 1)
            else:
                action = torch.tensor([[random.randrange(2)]], device=device, dtype=torch.long)
            observation, reward, terminated = env.step(action.item())
            reward = torch.tensor([reward], device=device)
            next_state = None if terminated else torch.tensor([observation], device=device)
            memory.push(state, action, next_state, reward)
            state = next_state
            if len(memory) >= BATCH_SIZE:
                report(updates, optimize_model(memory, policy_net, target_net, optimizer))
                updates += 1
            if terminated or t > 50 or updates >= args.steps:
                ends.append(reward.item())
                break
    print("mean of the last rewards at the end:", sum(ends) / len(ends))
    with torch.no_grad():
        print(
            "worth of going right:", [round(v, 2) for v in policy_net(torch.eye(CELLS, device=device))[:, 1].tolist()]
        )


if __name__ == "__main__":
    main()
