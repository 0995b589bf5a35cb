# The two seccomp programs, in the stub's fixed text beside the calls that they admit, because the
# assembler knows the distance from the start of the section to each `syscall` instruction.
#
# `guest_filter`: rt_sigreturn, exit and futex on the thread's slots, each only from its one
# instruction. A guest can jump there; it gains no more than it has. All else traps.
#
# `base_filter`: zygote and command thread (inherited by guest threads, whose own filter is
# stricter; the stricter verdict wins). It traps too, since a verdict of death would win over the
# trap; a trap with SIGSYS blocked is death for the command thread.

    .macro BPF_LD off
        .short 0x20
        .byte 0, 0
        .long \off
    .endm
    .macro BPF_JMP code, k, yes, no
        .short \code
        .byte (\yes - 77f) / 8, (\no - 77f) / 8
        .long \k
    77:
    .endm
    .macro BPF_RET k
        .short 0x06
        .byte 0, 0
        .long \k
    .endm
    # jump if equal / if greater or equal / if any bit set
    .macro BPF_EQ k, yes, no
        BPF_JMP 0x15, \k, \yes, \no
    .endm
    .macro BPF_GE k, yes, no
        BPF_JMP 0x35, \k, \yes, \no
    .endm
    .macro BPF_SET k, yes, no
        BPF_JMP 0x45, \k, \yes, \no
    .endm
    # if equal, go to `yes`, else on
    .macro BPF_CASE k, yes
        .short 0x15
        .byte (\yes - 78f) / 8, 0
        .long \k
    78:
    .endm

    .section .stub, "ax", @progbits
    .balign 16
guest_filter:
    BPF_LD 4
    BPF_EQ 0xc000003e, .Lg1, .Lg_trap
.Lg1: BPF_LD 12
    BPF_EQ {base_hi}, .Lg2, .Lg_trap
.Lg2: BPF_LD 8
    BPF_CASE {base_lo} + (site_sigreturn - stub_start), .Lg_sigreturn
    BPF_CASE {base_lo} + (site_wait - stub_start), .Lg_futex
    BPF_CASE {base_lo} + (site_wake - stub_start), .Lg_futex
    BPF_CASE {base_lo} + (site_exit - stub_start), .Lg_exit
    BPF_RET 0x00030000
.Lg_sigreturn: BPF_LD 0
    BPF_EQ 15, .Lg_allow, .Lg_trap
.Lg_exit: BPF_LD 0
    BPF_EQ 60, .Lg_allow, .Lg_trap
.Lg_futex: BPF_LD 0
    BPF_EQ 202, .Lg3, .Lg_trap
.Lg3: BPF_LD 20
    BPF_EQ {slots_hi}, .Lg4, .Lg_trap
.Lg4: BPF_LD 16
    BPF_GE {slots_lo}, .Lg5, .Lg_trap
.Lg5: BPF_GE {slots_end_lo}, .Lg_trap, .Lg6
.Lg6: BPF_LD 24
    BPF_CASE 0, .Lg_allow
    BPF_EQ 1, .Lg_allow, .Lg_trap
.Lg_allow: BPF_RET 0x7fff0000
.Lg_trap: BPF_RET 0x00030000
guest_filter_end:

    .balign 16
base_filter:
    BPF_LD 4
    BPF_EQ 0xc000003e, .Lb1, .Lb_trap
.Lb1: BPF_LD 0
    BPF_CASE 15, .Lb_allow
    BPF_CASE 202, .Lb_allow
    BPF_CASE 9, .Lb_mmap
    BPF_CASE 11, .Lb_addr
    BPF_CASE 10, .Lb_addr
    BPF_CASE 18, .Lb_shared
    BPF_CASE 0, .Lb_wake
    BPF_CASE 1, .Lb_wake
    BPF_CASE 47, .Lb_recv
    BPF_CASE 56, .Lb_clone
    BPF_CASE 317, .Lb_seccomp
    BPF_CASE 203, .Lb_self
    BPF_CASE 3, .Lb_allow
    BPF_CASE 33, .Lb_allow
    BPF_CASE 60, .Lb_allow
    BPF_CASE 231, .Lb_allow
    BPF_RET 0x00030000
.Lb_mmap: BPF_LD 48
    BPF_CASE {fd_shared}, .Lb_allow
    BPF_CASE {fd_memory}, .Lb_fixed
    BPF_EQ {fd_incoming}, .Lb_fixed, .Lb_trap
.Lb_fixed: BPF_LD 40
    BPF_SET 0x10, .Lb_addr, .Lb_trap
.Lb_addr: BPF_LD 20
    BPF_GE {base_hi}, .Lb_trap, .Lb_allow
.Lb_shared: BPF_LD 16
    BPF_EQ {fd_shared}, .Lb_allow, .Lb_trap
.Lb_wake: BPF_LD 16
    BPF_EQ {fd_wake}, .Lb_allow, .Lb_trap
.Lb_self: BPF_LD 16
    BPF_EQ 0, .Lb_allow, .Lb_trap
.Lb_recv: BPF_LD 16
    BPF_CASE {fd_files}, .Lb_allow
    BPF_EQ {fd_wake}, .Lb_allow, .Lb_trap
.Lb_clone: BPF_LD 16
    BPF_CASE {clone_thread}, .Lb_allow
    BPF_EQ {clone_stub}, .Lb_allow, .Lb_trap
.Lb_seccomp: BPF_LD 16
    BPF_EQ 1, .Lb_allow, .Lb_trap
.Lb_allow: BPF_RET 0x7fff0000
.Lb_trap: BPF_RET 0x00030000
base_filter_end:

    # struct sock_fprog
    .balign 16
guest_prog:
    .quad (guest_filter_end - guest_filter) / 8
    .quad {base} + (guest_filter - stub_start)
    .globl base_prog
base_prog:
    .quad (base_filter_end - base_filter) / 8
    .quad {base} + (base_filter - stub_start)
