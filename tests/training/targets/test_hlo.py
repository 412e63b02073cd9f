"""What is read of XLA's text: bytes, loops, collectives, in the ways that its compilers write."""

from clipdiff_jax.training.targets.hlo import read_program

LOOP = """HloModule jit_f, is_scheduled=true

%body (p: (s32[], f32[8,16])) -> (s32[], f32[8,16]) {
  %p = (s32[], f32[8,16]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[8,16]{1,0} get-tuple-element(%p), index=1
  %y = f32[8,16]{1,0} negate(%x)
  ROOT %t = (s32[], f32[8,16]{1,0}) tuple(%i, %y)
}

%condition (p: (s32[], f32[8,16])) -> pred[] {
  %p.1 = (s32[], f32[8,16]{1,0}) parameter(0)
  ROOT %yes = pred[] constant(true)
}

ENTRY %main (a: f32[8,16]) -> f32[8,16] {
  %a = f32[8,16]{1,0} parameter(0)
  %zero = s32[] constant(0)
  %start = (s32[], f32[8,16]{1,0}) tuple(%zero, %a)
  %loop = (s32[], f32[8,16]{1,0}) while(%start), condition=%condition, body=%body, TRIPS
  ROOT %out = f32[8,16]{1,0} get-tuple-element(%loop), index=1
}
"""
ONE = 8 * 16 * 4  # bytes of the array


def entry(*lines: str, before: str = "") -> str:
    """A program of these lines."""
    inside = "\n".join(f"  {line}" for line in lines)
    return f"HloModule m\n\n{before}\nENTRY %main (a: f32[8,16]) -> f32[8,16] {{\n{inside}\n}}\n"


def test_the_body_of_a_loop_counts_as_often_as_it_runs():
    trips = 'backend_config={"known_trip_count":{"n":"7"},"known_init_step":{"init":"0"}}'
    known = read_program(LOOP.replace("TRIPS", trips), 1)
    assert (known.bytes, known.unknown_loops) == (7 * 2 * ONE, 0)
    unknown = read_program(LOOP.replace(", TRIPS", ""), 1)
    assert (unknown.bytes, unknown.unknown_loops) == (2 * ONE, 1)
    assert known.counts["negate"] == 1


def test_collectives_by_the_whole_that_they_join_and_who_joins_in():
    text = entry(
        "%a = f32[8,16]{1,0} parameter(0)",
        "%r = f32[8,16]{1,0} all-reduce-start(%a), replica_groups=mesh['x'=2,'y'=4] {'x'}",
        "%d = f32[8,16]{1,0} all-reduce-done(%r)",
        "%g = (f32[8,16]{1,0}, f32[32,16]{1,0}) all-gather-start(%d), replica_groups=[2,4]<=[8]",
        "%h = f32[32,16]{1,0} all-gather-done(%g)",
        "%s = f32[4,16]{1,0} reduce-scatter(%h), replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%add",
        "%p = f32[8,16]{1,0} collective-permute(%s), source_target_pairs={{0,1},{1,0}}",
        "%t = f32[8,16]{1,0} all-to-all(%p)",
        "%q = ((f32[8,16]{1,0}), f32[1,16]{1,0}) reduce-scatter-start(%t), replica_groups={}",
        "%v = ((f32[8,16]{1,0}), f32[8,16]{1,0}) all-to-all-start(%t), replica_groups={{0,1}}",
    )
    assert read_program(text, 8).moved == {
        "all-reduce": {(ONE, 2): 1},
        "all-gather": {(4 * ONE, 4): 1},
        "reduce-scatter": {(4 * ONE, 8): 1, (ONE, 8): 1},
        "collective-permute": {(ONE, 8): 1},
        "all-to-all": {(ONE, 8): 1, (ONE, 2): 1},
    }


def test_groups_over_several_axes_and_a_reordered_mesh():
    line = "%a = bf16[4]{0} all-reduce(%x), replica_groups=mesh['a'=2,'b'=4,'c'=2], " \
        "device_ids=([2,8]T(1,0)) {'a','c'}"  # fmt: skip
    assert read_program(entry(line), 16).moved["all-reduce"] == {(8, 4): 1}


FUSED = """%fused (p0: f32[100,16], p1: s32[], p2: f32[1,16]) -> f32[100,16] {
  %p0 = f32[100,16]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %p2 = f32[1,16]{1,0} parameter(2)
  %old = f32[1,16]{1,0} dynamic-slice(%p0, %p1, %p1), dynamic_slice_sizes={1,16}
  %new = f32[1,16]{1,0} add(%old, %p2)
  ROOT %out = f32[1,16]{1,0} multiply(%new, %new)
}

%stored (q0: f32[100,16], q1: f32[1,16], q2: s32[]) -> f32[100,16] {
  %q0 = f32[100,16]{1,0} parameter(0)
  %q1 = f32[1,16]{1,0} parameter(1)
  %q2 = s32[] parameter(2)
  ROOT %up = f32[100,16]{1,0} dynamic-update-slice(%q0, %q1, %q2, %q2)
}
"""


def test_of_a_slice_the_slice_counts():
    row = 16 * 4
    text = entry(
        "%a = f32[100,16]{1,0} parameter(0)",
        "%i = s32[] parameter(1)",
        "%b = f32[1,16]{1,0} parameter(2)",
        "%f = f32[1,16]{1,0} fusion(%a, %i, %b), kind=kLoop, calls=%fused",
        before=FUSED,
    )
    assert read_program(text, 1).bytes == row + 4 + row + row
    text = entry(
        "%a = f32[100,16]{1,0} parameter(0)",
        "%i = s32[] parameter(1)",
        "%b = f32[1,16]{1,0} parameter(2)",
        "%f = f32[100,16]{1,0} fusion(%a, %b, %i), kind=kLoop, calls=%stored",
        before=FUSED,
    )
    assert read_program(text, 1).bytes == row + row + 4
    text = entry(
        "%a = f32[100,16]{1,0} parameter(0)",
        "%i = s32[] parameter(1)",
        "%s = f32[1,16]{1,0} dynamic-slice(%a, %i, %i), dynamic_slice_sizes={1,16}",
        "%u = f32[100,16]{1,0} dynamic-update-slice(%a, %s, %i, %i)",
    )
    assert read_program(text, 1).bytes == 2 * row + 2 * row


def test_what_a_tpu_keeps_in_its_small_memory_costs_no_bandwidth():
    text = entry(
        "%a = f32[8,16]{1,0:T(8,128)} parameter(0)",
        "%b = f32[8,16]{1,0:T(8,128)S(1)} negate(%a)",
        "ROOT %c = f32[8,16]{1,0:T(8,128)} negate(%b)",
    )
    assert read_program(text, 1).bytes == 2 * ONE


def test_calls_are_counted_by_what_they_call():
    text = entry(
        "%a = f32[8,16]{1,0} parameter(0)",
        '%c = (f32[8,16]{1,0}, u8[64]{0}) custom-call(%a, %a), custom_call_target="__cublas$gemm"',
        "ROOT %f = f32[8,16]{1,0} fusion(%a), kind=kInput, calls=%missing",
    )
    counts = read_program(text, 1).counts
    assert counts["custom-call __cublas$gemm"] == counts["fusion input"] == 1
