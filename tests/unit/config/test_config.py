"""Every configuration that ships composes; every bad one is refused with all of its faults."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from bai_sweep.config import ConfigError, PPOSettings, TrialConfig, parse, parse_mapping
from bai_sweep.sources import packaged_dir

CONF = packaged_dir("conf")
GROUPS = ["model", "actor", "rl", "reward", "evaluation", "judge", "stability", "selection", "tracking"]
CHOICES = [(group, file.stem) for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]
SWEEPS = sorted(file.stem for file in (CONF / "sweep").glob("*.yaml"))


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def parsed(*overrides: str) -> TrialConfig:
    return parse(composed(*overrides))


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_of_every_group_composes(group: str, choice: str) -> None:
    # what is the user's to name
    named = {
        "own": [f"model.{member}=testbed://base" for member in ("base", "sft.instruct", "sft.distilled")],
        "local": ["judge.model=testbed://instruct"],
        "recorded": ["judge.path=verdicts.jsonl"],
    }

    config = parsed(f"{group}={choice}", *named.get(choice, []))

    assert getattr(config, group).name == choice


def test_a_judges_fault_is_named_by_its_key() -> None:
    with pytest.raises(ConfigError, match=r"  - judge\.timeout: .*greater than 0"):
        parsed("judge=openai", "judge.timeout=0")


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_sweep_composes(sweep: str) -> None:
    assert parsed(f"+sweep={sweep}").study == sweep


def test_paradigm2_turns_rl_off_and_the_others_do_not() -> None:
    assert parsed("actor=paradigm2").rl.kind == "none"
    assert parsed("actor=paradigm3").rl.kind == "ppo"


def test_alpha_and_weights_reach_the_actor() -> None:
    config = parsed("alpha=0.3", "weights={instruct: 0.2, distilled: 0.8}")

    assert config.actor.kind == "merge"
    assert config.actor.alpha == 0.3
    assert config.actor.weights == {"instruct": 0.2, "distilled": 0.8}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("alpha=1.5", r"alpha: .*less than or equal to 1 \(got 1.5\)"),
        ("alpha=-0.1", r"alpha: .*greater than or equal to 0"),
        ("alpha=true", r"alpha: a number is needed, not true or false \(got True\)"),
        ("seed=true", r"seed: a number is needed, not true or false \(got True\)"),
        ("workers=true", r"workers: a number is needed, not true or false \(got True\)"),
        ("rl.actor_learning_rate=true", r"rl.actor_learning_rate: a number is needed, not true or false"),
        ("actor/merge=ties actor.merge.scale=true", r"actor.merge.scale: a number is needed, not true or false"),
        ("actor/merge=ties actor.merge.density=true", r"actor.merge.density: a number is needed, not true or false"),
        ("weights.instruct=0.7", r"weights: weights must sum to 1; these sum to 1.2"),
        ("+weights.third=0.0", r"weights: one for each of model.sft \(instruct, distilled\); got instruct, .*third"),
        ("model.base=/does/not/exist", r"model.base: no such folder: '/does/not/exist'"),
        ("model.base=testbed://nope", r"the testbed has testbed://base"),
        ("model.tokenizer=nope", r"tokenizer names one of the models \(base, instruct, distilled\); got 'nope'"),
        ("rl.minibatch_size=5", r"rl.minibatch_size: must divide batch_size; 32 / 5 leaves 2"),
        ("rl.actor_learning_rate=0", r"actor_learning_rate: .*greater than 0"),
        ("rl.kl_estimator=k9", r"kl_estimator: .*'k1', 'k2', 'k3' or 'abs'"),
        ("rl.clip_range_low=1.5", r"clip_range_low: .*less than or equal to 1"),
        ("rl.dual_clip=1.0", r"dual_clip: .*greater than 1"),
        ("rl.importance_cap=0.5", r"importance_cap: .*greater than or equal to 1"),
        (
            "rl.overlong_buffer=500 rl.overlong_penalty=1",
            r"rl.overlong_buffer: is the last part .*=200; got 500",
        ),
        ("rl.critic_warmup_steps=50", r"rl.critic_warmup_steps: trains no actor, so it is below steps=50; got 50"),
        ("rl.kl_target=6.0 rl.kl_horizon=16", r"rl.kl_horizon: spans a batch at least, batch_size=32; got 16"),
        (
            "rl.kl_target=6.0 rl.kl_coef=0",
            r"rl.kl_target: adapts kl_coef by factors, so that starts above 0; got kl_coef=0",
        ),
        (
            "rl.overlong_buffer=20",
            r"rl.overlong_penalty: grows .* so both are above 0 or neither; got 0.0 and overlong_buffer=20",
        ),
        ("rl.overlong_penalty=0.5", r"rl.overlong_penalty: grows .* got 0.5 and overlong_buffer=0"),
        ("rl.lr_warmup_steps=50", r"rl.lr_warmup_steps: .* below 50 steps less 0 .* got 50"),
        (
            "rl.gae_length_alpha=0.005",
            r"rl.gae_length_alpha: gae_length_alpha \* max_new_tokens is above 1.*got 0.005 \* 200",
        ),
        ("rl.num_processes=3", r"rl.num_processes: .* evenly; 3 do not share minibatch_size=8, batch_size=32"),
        ("rl.num_generations=5", r"rl.batch_size: holds whole groups of num_generations=5; got 32"),
        ("rl.adam_betas=[0.9,1.0]", r"rl.adam_betas.1: .*less than 1 \(got 1.0\)"),
        ("rl.vllm.url=localhost", r"rl.vllm.url: .*http"),
        ("rl.engine=sglang", r"rl.engine: .*'hf' or 'vllm'"),
        ("+rl.foo=1", r"rl.foo: there is no such key"),
        ("+nonsense=1", r"nonsense: there is no such key"),
        ("seed=abc", r"seed: .*integer"),
        ("study='a/b'", r"a name may hold letters"),
        ("study=..", r"a name may hold letters"),
        ("device=nope", r"device: "),
        ("seed=18446744073709551616", r"seed: "),
        ("actor.alpha=oops", r"actor.alpha: .*number"),
        ("reward.functions.correct.function=os.system", r"package.module:name"),
    ],
)
def test_a_bad_value_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parsed(*override.split())


def test_groups_of_one_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"rl.num_generations: 1 leaves nothing to compare"):
        parsed("rl=grpo", "rl.num_generations=1")


def test_the_presets_are_what_their_papers_say() -> None:
    vc_ppo, vapo = parsed("rl=vc_ppo").rl, parsed("rl=vapo").rl

    assert isinstance(vc_ppo, PPOSettings)
    assert isinstance(vapo, PPOSettings)
    assert (vc_ppo.gae_lambda, vc_ppo.gae_lambda_critic, vc_ppo.critic_warmup_steps) == (0.95, 1.0, 5)
    assert (vapo.gae_length_alpha, vapo.gae_lambda_critic, vapo.critic_warmup_steps) == (1.0, 1.0, 5)
    assert (vapo.clip_range_low, vapo.clip_range_high, vapo.loss_aggregation) == (0.2, 0.28, "token")
    assert (vapo.positive_nll_coef, vapo.kl_coef, vapo.num_generations) == (0.1, 0.0, 4)


def test_models_that_are_not_named_are_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"(?s)mandatory value.*model\.base"):
        parsed("model=own")


def test_all_faults_come_in_one_message() -> None:
    with pytest.raises(ConfigError) as caught:
        parsed("alpha=2", "model.base=/nowhere", "weights.instruct=0.9", "rl.minibatch_size=7", "+rl.foo=1")

    message = str(caught.value)
    for part in ["alpha: ", "model.base: ", "must sum to 1", "32 / 7 leaves 4", "rl.foo: there is no such key"]:
        assert part in message


def test_rules_between_settings_come_with_their_keys_beside_faults_of_fields() -> None:
    with pytest.raises(ConfigError) as caught:
        parsed("rl.overlong_buffer=500", "rl.critic_warmup_steps=50", "rl.num_generations=5", "rl.gamma=2")

    assert str(caught.value).splitlines() == [
        "bad configuration, 5 faults:",
        "  - rl.gamma: Input should be less than or equal to 1 (got 2)",
        "  - rl.batch_size: holds whole groups of num_generations=5; got 32",
        "  - rl.overlong_penalty: grows over the last overlong_buffer tokens, so both are above 0 or neither; got 0.0 "
        "and overlong_buffer=500",
        "  - rl.overlong_buffer: is the last part of max_new_tokens=200; got 500",
        "  - rl.critic_warmup_steps: trains no actor, so it is below steps=50; got 50; raise steps or lower "
        "critic_warmup_steps",
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("rl=grpo", "rl.loss_type=null"), r"rl.loss_type: says how GRPO learns; got null"),
        (("rl=rloo", "rl.scale_rewards=group"), r"rl.scale_rewards: is GRPO's and RLOO has none; got 'group'"),
        (("rl=rloo", "rl.minibatch_size='5'"), r"rl.minibatch_size: must divide batch_size; \d+ / 5 leaves"),
    ],
)
def test_rules_of_groups(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parsed(*overrides)


def test_a_folder_without_config_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has none"):
        parsed(f"model.base={tmp_path}")


def test_a_stored_configuration_parses_again() -> None:
    config = parsed("alpha=0.25")

    assert parse_mapping(config.model_dump()) == config
