// SPDX-License-Identifier: Apache-2.0
// What fiber_switch_test.cc calls: no compiler stands between it and the registers.
//
// void weft_probe_switch(Side* mine, const Side* other): fills the registers that a callee must keep
// from mine->in, switches to the other side, and notes in mine->out what is in them afterwards.
// void weft_probe_side(void* probe): where a new stack begins. Notes its stack pointer, and then does
// nothing but that, again and again, as the inner side.

#if defined(__x86_64__)
#define IN 8
#define OUT 56
#define INNER 104
#define ENTRY 208

    .text
    .globl weft_probe_switch
    .hidden weft_probe_switch
    .type weft_probe_switch, @function
weft_probe_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushq %rdi
    movq IN+0(%rdi), %rbp
    movq IN+8(%rdi), %rbx
    movq IN+16(%rdi), %r12
    movq IN+24(%rdi), %r13
    movq IN+32(%rdi), %r14
    movq IN+40(%rdi), %r15
    movq (%rsi), %rsi
    callq weft_fiber_switch
    movq (%rsp), %rdi
    movq %rbp, OUT+0(%rdi)
    movq %rbx, OUT+8(%rdi)
    movq %r12, OUT+16(%rdi)
    movq %r13, OUT+24(%rdi)
    movq %r14, OUT+32(%rdi)
    movq %r15, OUT+40(%rdi)
    popq %rdi
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size weft_probe_switch, .-weft_probe_switch

    .globl weft_probe_side
    .hidden weft_probe_side
    .type weft_probe_side, @function
weft_probe_side:
    movq %rsp, ENTRY(%rdi)
    subq $8, %rsp
    movq %rdi, %rbx
1:  leaq INNER(%rbx), %rdi
    movq %rbx, %rsi
    callq weft_probe_switch
    jmp 1b
    .size weft_probe_side, .-weft_probe_side

#elif defined(__aarch64__)
#define IN 8
#define OUT 160
#define INNER 312
#define ENTRY 624

    .text
    .globl weft_probe_switch
    .hidden weft_probe_switch
    .type weft_probe_switch, %function
weft_probe_switch:
    stp x29, x30, [sp, #-176]!
    stp x19, x20, [sp, #16]
    stp x21, x22, [sp, #32]
    stp x23, x24, [sp, #48]
    stp x25, x26, [sp, #64]
    stp x27, x28, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    str x0, [sp, #160]
    ldp x19, x20, [x0, #IN+0]
    ldp x21, x22, [x0, #IN+16]
    ldp x23, x24, [x0, #IN+32]
    ldp x25, x26, [x0, #IN+48]
    ldp x27, x28, [x0, #IN+64]
    ldr x29, [x0, #IN+80]
    ldp d8, d9, [x0, #IN+88]
    ldp d10, d11, [x0, #IN+104]
    ldp d12, d13, [x0, #IN+120]
    ldp d14, d15, [x0, #IN+136]
    ldr x1, [x1]
    bl weft_fiber_switch
    ldr x0, [sp, #160]
    stp x19, x20, [x0, #OUT+0]
    stp x21, x22, [x0, #OUT+16]
    stp x23, x24, [x0, #OUT+32]
    stp x25, x26, [x0, #OUT+48]
    stp x27, x28, [x0, #OUT+64]
    str x29, [x0, #OUT+80]
    stp d8, d9, [x0, #OUT+88]
    stp d10, d11, [x0, #OUT+104]
    stp d12, d13, [x0, #OUT+120]
    stp d14, d15, [x0, #OUT+136]
    ldp x19, x20, [sp, #16]
    ldp x21, x22, [sp, #32]
    ldp x23, x24, [sp, #48]
    ldp x25, x26, [sp, #64]
    ldp x27, x28, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    ldp x29, x30, [sp], #176
    ret
    .size weft_probe_switch, .-weft_probe_switch

    .globl weft_probe_side
    .hidden weft_probe_side
    .type weft_probe_side, %function
weft_probe_side:
    mov x9, sp
    str x9, [x0, #ENTRY]
    mov x19, x0
1:  add x0, x19, #INNER
    mov x1, x19
    bl weft_probe_switch
    b 1b
    .size weft_probe_side, .-weft_probe_side
#endif

    .section .note.GNU-stack, "", %progbits
