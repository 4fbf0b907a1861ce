// SPDX-License-Identifier: Apache-2.0
// weft_fiber_switch() of fiber_switch.h. It saves what a callee must keep by the System V psABI for
// x86-64 and by AAPCS64 for arm64. No note of this file claims shadow stacks or branch targets, so
// a program that has it in runs without them.

#if defined(__x86_64__)
    .text
    .globl weft_fiber_switch
    .hidden weft_fiber_switch
    .type weft_fiber_switch, @function
    .p2align 4
weft_fiber_switch:
    .cfi_startproc
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $8, %rsp
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    addq $8, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .cfi_endproc
    .size weft_fiber_switch, .-weft_fiber_switch

// Where a new fiber begins: newFiberFrame() left the argument in r12 and the
// function in r13.
    .globl weft_fiber_begin
    .hidden weft_fiber_begin
    .type weft_fiber_begin, @function
    .p2align 4
weft_fiber_begin:
    .cfi_startproc
    .cfi_undefined rip
    movq %r12, %rdi
    xorl %ebp, %ebp
    callq *%r13
    ud2
    .cfi_endproc
    .size weft_fiber_begin, .-weft_fiber_begin

#elif defined(__aarch64__)
    .text
    .globl weft_fiber_switch
    .hidden weft_fiber_switch
    .type weft_fiber_switch, %function
    .p2align 4
weft_fiber_switch:
    .cfi_startproc
    sub sp, sp, #176
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mrs x9, fpcr
    str x9, [sp, #160]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    ldr x9, [sp, #160]
    msr fpcr, x9
    add sp, sp, #176
    ret
    .cfi_endproc
    .size weft_fiber_switch, .-weft_fiber_switch

// Where a new fiber begins: newFiberFrame() left the argument in x19 and the
// function in x20.
    .globl weft_fiber_begin
    .hidden weft_fiber_begin
    .type weft_fiber_begin, %function
    .p2align 4
weft_fiber_begin:
    .cfi_startproc
    .cfi_undefined x30
    mov x0, x19
    mov x29, xzr
    mov x30, xzr
    blr x20
    brk #1
    .cfi_endproc
    .size weft_fiber_begin, .-weft_fiber_begin
#else
#error "no context switch for this processor"
#endif

    .section .note.GNU-stack, "", %progbits
