"""The kernel's machine code for GPUs that are not there: what would it need?"""

from salient_kernel import config

from seats_ops.testing.aot import TARGETS, Variant, compile_variant, problems

for target in TARGETS:
    variant = Variant(config(stride=4), target, aligned=True)
    report = compile_variant(variant)
    print(f"{target:6} {report.registers:4} registers, {report.spills} spilled")
    for problem in problems(variant, report):
        print(problem)
