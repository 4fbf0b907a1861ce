/* SPDX-License-Identifier: Apache-2.0 */
.section .rodata, "a"
.global weft_bpf_layout
.global weft_bpf_layout_end
.balign 16
weft_bpf_layout: .incbin "layout.bpf.o"
weft_bpf_layout_end:
.section .note.GNU-stack, "", %progbits
