"""What a cluster may be, and that it makes no run another one."""

from __future__ import annotations

import pytest

from suite.errors import SuiteError
from suite.planning.clusters import find_cluster, split_off
from suite.planning.plan import make_plan
from suite.published.finding import find_claim


def test_the_default_leaves_everything_to_slurm():
    cluster = find_cluster([])
    given = {name for name, value in cluster if value not in (None, [], {})}
    assert (cluster.name, given) == ("default", {"name", "notice"})


def test_a_cluster_is_chosen_by_name_and_changed_key_by_key():
    asked = ["cluster.time=90", "cluster=example", "cluster.throttle=null", "+cluster.options.mail-type=END"]
    cluster = find_cluster(asked)
    assert (cluster.name, cluster.partition, cluster.gpus) == ("example", "gpu", 8)
    assert (cluster.time, cluster.throttle) == ("90", None)
    assert cluster.options == {"exclude": "node[01-02]", "mail-type": "END"}
    assert find_cluster(["cluster=example"]).time == "1-00:00:00"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("cluster=exmple", "override 'cluster=exmple': did you mean 'example'"),
        ("cluster.time=soon", "cluster.time cannot be 'soon': write minutes, or days-hours:minutes:seconds"),
        ("cluster.gpus=many", "override 'cluster.gpus=many': cluster.gpus cannot be 'many'"),
        ("cluster.gpus=-1", "cluster.gpus cannot be -1"),
        (
            "cluster.memory=lots",
            "cluster.memory cannot be 'lots': write a number followed by K, M, G or T",
        ),
        ("cluster.partition='a b'", "cluster.partition cannot be 'a b': write one word, without quotes"),
        ("cluster.partition='$(rm)'", "write one word, without quotes"),
        ("cluster.tim=3", "override 'cluster.tim=3' does not compose: Could not override 'cluster.tim'"),
        ("+cluster.tim=3", "cluster.tim cannot be 3"),
        ("+cluster.options.output=x", "output is set by the launcher; leave it out"),
        ("cluster.setup=['${oc.env:HOME}']", "calls a resolver"),
    ],
)
def test_what_no_cluster_can_be_is_refused_by_name(asked: str, says: str):
    with pytest.raises(SuiteError) as caught:
        find_cluster([asked])
    assert says in str(caught.value)


def test_a_cluster_is_no_part_of_a_recipe():
    claim = find_claim("mgd-resnet18")[1]
    of_cluster, of_recipe = split_off(["cluster=example", "cluster.time=60", "resources.devices=1"])
    assert (of_cluster, of_recipe) == (["cluster=example", "cluster.time=60"], ["resources.devices=1"])
    with pytest.raises(SuiteError, match="only 'reproduce --launcher slurm' uses one"):
        make_plan([claim], "paper", 1, of_cluster)
