"""Programs compiled for accelerators that are not there, and what they would cost on them.

XLA's compilers run without a device. `chips` has the facts of the chips, `names` reads "h100:8",
`compilers` has the devices to compile for, `flops` counts what the program is asked to do, `hlo`
reads what the compiler made of it, `cost` holds both against the chip, and `report` says it.
"""
