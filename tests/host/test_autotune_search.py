"""The search, on costs by formula: it finds optima, keeps to budgets, goes the same way again, and repeats nothing."""

from __future__ import annotations

import math
import random

import pytest

from tritorch.autotune.key import Key
from tritorch.autotune.search import AT_ROOFLINE, COMPLETE, EFFORTS, OUT_OF_BUDGET, Budget, Effort, Search, covers
from tritorch.autotune.space import Space, choices, powers, stages, warps
from tritorch.autotune.trial import CRASH, RESOURCES, WRONG, Entry, Resources, Timing, Trial, config_name

KEY = Key("module.kernel", "0" * 12, ("float32",), (), ())
SPACE = Space(
    BLOCK_M=powers(16, 256), BLOCK_N=powers(16, 256), BLOCK_K=powers(16, 128), num_warps=warps(), num_stages=stages(),
    where=lambda BLOCK_M, BLOCK_N: BLOCK_M * BLOCK_N <= 32768,
)  # fmt: skip
DEFAULT = {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 32, "num_warps": 4, "num_stages": 2}
BEST = {"BLOCK_M": 256, "BLOCK_N": 32, "BLOCK_K": 64, "num_warps": 8, "num_stages": 3}


def smooth(config):
    """A bowl in the logarithms of the knobs, whose sides are coupled."""
    steps = [math.log2(config[name] / BEST[name]) for name in BEST]
    return 1e-4 * (1 + sum(step**2 for step in steps) / 8 + (steps[0] + steps[1]) ** 2 / 4)


class Laboratory:
    """Times by formula. `fails` are configs by condition with the state they end in; noise is seeded."""

    def __init__(self, cost=smooth, noise=0.0, fails=lambda config: None, clock=None, seconds=1.0, kill_after=math.inf):
        self.cost, self.noise, self.fails, self.clock, self.seconds = cost, noise, fails, clock, seconds
        self.random = random.Random(1)
        self.tried, self.prepared, self.finals_held, self.saved = [], [], [], []
        self.kill_after, self.found_by_others = kill_after, []

    def prepare(self, configs):
        self.prepared += configs
        for each in configs:
            large = self.fails(each) == RESOURCES
            spills = 1024 if each.get("BLOCK_K") == 128 else 0
            yield each, Trial(each, RESOURCES, cause="too large") if large else Resources(200, spills, 0)

    def trial(self, config):
        if len(self.tried) >= self.kill_after:
            raise KeyboardInterrupt
        self.tried.append(config)
        if self.clock is not None:
            self.clock.now += self.seconds
        state = self.fails(config)
        return Trial(config, timing=self._timing(config)) if state is None else Trial(config, state, cause="planned")

    def finals(self, configs):
        self.finals_held.append(configs)
        return [self._timing(each, quiet=4) for each in configs]

    def noted(self, trials):
        self.saved += trials
        return self.found_by_others

    def _timing(self, config, quiet=1):
        seconds = self.cost(config) * (1 + self.random.uniform(-self.noise, self.noise) / quiet)
        width = self.noise / quiet / 2
        return Timing(seconds * (1 - width), seconds, seconds * (1 + width), 20)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def search(laboratory, entry=None, space=SPACE, default=DEFAULT, **rest):
    made = Search(space, default, {}, Entry(KEY) if entry is None else entry, laboratory, **rest)
    return made, made.run()


def best(made):
    return made.entry.best().config


@pytest.mark.parametrize("effort", ["quick", "full"])
def test_it_finds_the_optimum_of_a_smooth_cost(effort):
    laboratory = Laboratory()
    made, ended = search(laboratory, effort=effort)
    assert best(made) == BEST and ended == COMPLETE
    assert len(laboratory.tried) < len(SPACE) // (8 if effort == "quick" else 2)


@pytest.mark.parametrize("seed", range(5))
def test_it_survives_noise(seed):
    made, _ = search(Laboratory(noise=0.05), effort="full", seed=seed)
    assert smooth(best(made)) <= smooth(BEST) * 1.1


def test_full_effort_leaves_a_valley_that_stops_quick():
    def two_valleys(config):
        far = {"BLOCK_M": 16, "BLOCK_N": 256, "BLOCK_K": 128, "num_warps": 1, "num_stages": 4}
        near = sum(abs(math.log2(config[name] / DEFAULT[name])) for name in DEFAULT)
        return 1e-4 * min(1 + near / 4, 0.5 + sum(abs(math.log2(config[name] / far[name])) for name in far) / 4)

    found = {effort: best(search(Laboratory(two_valleys), effort=effort)[0]) for effort in ("quick", "full")}
    assert two_valleys(found["full"]) <= two_valleys(found["quick"])
    assert two_valleys(found["full"]) == pytest.approx(0.5e-4)


def test_steps_of_two_knobs_go_along_a_limit(monkeypatch):
    """No single step from 128 x 256 is both allowed and faster."""

    def cost(config):
        rows, columns = math.log2(config["BLOCK_M"]), math.log2(config["BLOCK_N"])
        return 1e-4 * (20 - min(rows, 8) - 0.5 * columns + (rows + columns < 15) * 2)

    def fits(BLOCK_M, BLOCK_N):
        return BLOCK_M * BLOCK_N <= 32768

    space = Space(BLOCK_M=powers(16, 256), BLOCK_N=powers(16, 256), A=range(40), where=fits)
    start = {"BLOCK_M": 128, "BLOCK_N": 256, "A": 3}
    monkeypatch.setitem(EFFORTS, "full", Effort("full", whole=1, starts=1, diagonals=True))  # no lucky draws
    made = Search(space, start, {}, Entry(KEY), Laboratory(cost), effort="full")
    made.run()
    assert best(made)["BLOCK_M"] == 256 and best(made)["BLOCK_N"] == 128
    steps = made._diagonals(start)
    assert {"BLOCK_M": 256, "BLOCK_N": 128, "A": 3} in steps and all(space.allows(each) for each in steps)


def test_the_default_is_first_and_no_effort_tries_it_alone():
    laboratory = Laboratory()
    _, ended = search(laboratory, effort="none")
    assert laboratory.tried == [DEFAULT] and ended == COMPLETE and not laboratory.finals_held
    search(laboratory := Laboratory(), effort="quick")
    assert laboratory.tried[0] == DEFAULT


def test_a_small_space_is_tried_whole_from_the_default_outwards():
    space = Space(ROWS=powers(1, 16), num_warps=choices(1, 2, 4, 8), where=lambda ROWS, num_warps: ROWS >= num_warps)
    laboratory = Laboratory(lambda config: 1e-6 * config["ROWS"])
    made, _ = search(laboratory, space=space, default={"ROWS": 4, "num_warps": 4})
    assert laboratory.tried[0] == {"ROWS": 4, "num_warps": 4} and laboratory.tried[-1] == {"ROWS": 16, "num_warps": 1}
    assert len(laboratory.tried) == sum(1 for _ in space.configs()) == 14
    assert best(made) == {"ROWS": 1, "num_warps": 1}


def test_no_config_is_tried_twice_and_none_against_its_conditions():
    laboratory = Laboratory()
    search(laboratory, effort="full")
    names = [config_name(each) for each in laboratory.tried]
    assert len(set(names)) == len(names)
    assert all(SPACE.allows(each) for each in laboratory.tried)


def test_the_same_seed_goes_the_same_way():
    runs = []
    for seed in (3, 3, 4):
        laboratory = Laboratory(noise=0.02)
        search(laboratory, effort="full", seed=seed)
        runs.append(laboratory.tried)
    assert runs[0] == runs[1] != runs[2]


def test_a_budget_of_trials_counts_those_of_earlier_runs():
    entry = Entry(KEY)
    first, ended = search(Laboratory(), entry, budget=Budget(trials=10))
    assert ended == OUT_OF_BUDGET and len(entry.trials) == 10 == first.new
    again, ended = search(Laboratory(), entry, budget=Budget(trials=25))
    assert ended == OUT_OF_BUDGET and len(entry.trials) == 25 and again.new == 15


def test_a_budget_of_seconds_ends_it_before_it_is_spent():
    clock = Clock()
    laboratory = Laboratory(clock=clock)
    made, ended = search(laboratory, budget=Budget(20, clock=clock))
    # 19 seconds; the finals will take as long as the trials of those in them did.
    assert ended == OUT_OF_BUDGET and len(laboratory.tried) == 19 - len(laboratory.finals_held[-1])
    assert made.planned > made.new


def test_the_default_is_tried_without_any_budget():
    laboratory = Laboratory()
    search(laboratory, budget=Budget(0))
    assert laboratory.tried == [DEFAULT] == laboratory.prepared


@pytest.mark.parametrize("killed", [0, 1, 7, 30, 60])
def test_what_was_killed_goes_on_without_repeating_a_trial(killed):
    whole = Laboratory()
    search(whole, effort="full")
    entry, part = Entry(KEY), Laboratory(kill_after=killed)
    with pytest.raises(KeyboardInterrupt):
        search(part, entry, effort="full")
    assert len(entry.trials) == killed == len(part.saved)
    rest = Laboratory()
    search(rest, entry, effort="full")
    assert sorted(map(config_name, part.tried + rest.tried)) == sorted(map(config_name, whole.tried))


def test_a_search_that_was_complete_tries_nothing_when_it_runs_again():
    entry = Entry(KEY)
    search(Laboratory(), entry, effort="full")
    again = Laboratory()
    made, ended = search(again, entry, effort="full")
    assert ended == COMPLETE and made.new == 0 and not again.tried and not again.finals_held


def test_one_more_value_costs_its_own_trials():
    entry = Entry(KEY)
    search(Laboratory(), entry, effort="full")
    grown = Space(
        BLOCK_M=powers(16, 512), where=lambda BLOCK_M, BLOCK_N: BLOCK_M * BLOCK_N <= 32768,
        **{name: knob for name, knob in SPACE.knobs.items() if name != "BLOCK_M"},
    )  # fmt: skip
    laboratory = Laboratory(lambda config: smooth(config | {"BLOCK_M": config["BLOCK_M"] // 2}))
    made, _ = search(laboratory, entry, grown, effort="full", only_new={"BLOCK_M": {512}})
    assert laboratory.tried and all(each["BLOCK_M"] == 512 for each in laboratory.tried)
    assert best(made)["BLOCK_M"] == 512


@pytest.mark.parametrize("state", [RESOURCES, WRONG, CRASH])
def test_what_failed_is_kept_with_its_cause_and_not_tried_again(state):
    def fails(config):
        return state if config["BLOCK_M"] == 256 else None

    entry, laboratory = Entry(KEY), Laboratory(fails=fails)
    made, _ = search(laboratory, entry)
    failed = [each for each in entry.trials if each.state == state]
    assert failed and all(each.cause and each.config["BLOCK_M"] == 256 for each in failed)
    assert best(made)["BLOCK_M"] == 128
    if state == RESOURCES:  # known from compiling, so never launched
        assert all(each["BLOCK_M"] != 256 for each in laboratory.tried)
    again = Laboratory()
    search(again, entry)
    assert not again.tried


def test_what_spills_much_is_tried_after_what_does_not():
    laboratory = Laboratory()
    search(laboratory, budget=Budget(trials=32))  # the default, and those that are compiled together
    spilling = [each["BLOCK_K"] == 128 for each in laboratory.tried]
    assert any(spilling) and spilling == sorted(spilling)


def test_a_default_that_fails_does_not_end_the_search():
    laboratory = Laboratory(fails=lambda config: WRONG if config == DEFAULT else None)
    made, _ = search(laboratory)
    assert smooth(best(made)) < smooth(DEFAULT)


def test_when_all_fails_there_is_no_best():
    made, ended = search(Laboratory(fails=lambda config: WRONG), effort="full")
    assert ended == COMPLETE and made.entry.best() is None and made.new > 10


def test_it_stops_near_the_roofline():
    laboratory = Laboratory()
    made, ended = search(laboratory, effort="full", roofline=smooth(BEST) * 0.98)
    assert ended == AT_ROOFLINE and best(made) == BEST
    assert laboratory.tried[-1] == BEST
    search(laboratory := Laboratory(), effort="full", roofline=smooth(DEFAULT))
    assert laboratory.tried == [DEFAULT]


def test_what_won_for_near_keys_is_tried_early_and_descended_from():
    seed = BEST | {"num_stages": 2}
    laboratory = Laboratory()
    made, _ = search(laboratory, seeds=(seed,), budget=Budget(trials=60))
    assert laboratory.tried[1] == seed and best(made) == BEST


def test_finals_hold_the_fastest_and_the_default_and_ties_go_to_the_earlier():
    laboratory = Laboratory(lambda config: 1e-4 if config["num_stages"] > 1 else 2e-4)
    made, _ = search(laboratory)
    assert DEFAULT in laboratory.finals_held[-1] and best(made) == DEFAULT
    assert len([each for each in made.entry.trials if each.final]) == len(laboratory.finals_held[-1])


def test_those_of_earlier_finals_are_measured_with_the_later_ones():
    entry = Entry(KEY)
    search(Laboratory(), entry, budget=Budget(trials=12))
    before = {config_name(each.config) for each in entry.trials if each.final}
    laboratory = Laboratory()
    made, _ = search(laboratory, entry, effort="full")
    assert best(made) == BEST and before <= set(map(config_name, laboratory.finals_held[-1]))


def test_what_other_processes_have_found_meanwhile_is_not_tried():
    laboratory = Laboratory()
    laboratory.found_by_others = [Trial(DEFAULT | {"BLOCK_M": 256}, WRONG, cause="elsewhere")]
    search(laboratory)
    assert len(laboratory.tried) > 20 and DEFAULT | {"BLOCK_M": 256} not in laboratory.tried


def test_more_effort_covers_less():
    assert list(EFFORTS) == ["none", "quick", "full"]
    assert covers("full", "quick") and covers("quick", "quick") and not covers("quick", "full")
    assert not covers("", "none") and not covers("unheard of", "none")
