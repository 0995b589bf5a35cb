# Calls from patched sites. A gate (made by the Sentry: platform/systrap/gates.rs) comes here with
# r11 = slot, rcx = return address and everything else as guest code left it, the flags too; GS is
# the slot. The extended state stays in the processor. The slot is the guest's to write: nothing read
# from it here matters to anybody but the guest.

    .section .stub, "ax", @progbits
    .balign 64
call_enter:
    mov [r11 + {call_regs} + 0x00], r8
    mov [r11 + {call_regs} + 0x08], r9
    mov [r11 + {call_regs} + 0x10], r10
    mov [r11 + {call_regs} + 0x20], r12
    mov [r11 + {call_regs} + 0x28], r13
    mov [r11 + {call_regs} + 0x30], r14
    mov [r11 + {call_regs} + 0x38], r15
    mov [r11 + {call_regs} + 0x40], rdi
    mov [r11 + {call_regs} + 0x48], rsi
    mov [r11 + {call_regs} + 0x50], rbp
    mov [r11 + {call_regs} + 0x58], rbx
    mov [r11 + {call_regs} + 0x60], rdx
    mov [r11 + {call_regs} + 0x68], rax
    mov [r11 + {call_regs} + 0x70], rcx
    mov [r11 + {call_regs} + 0x78], rsp
    mov [r11 + {call_regs} + 0x80], rcx
    mov rbx, r11
    lea rsp, [rbx + {call_stack}]
    pushfq
    pop rax
    mov [rbx + {call_regs} + 0x18], rax
    mov [rbx + {call_regs} + 0x88], rax
    rdfsbase rax
    mov [rbx + {fs_base}], rax
    mov dword ptr [rbx + {left_by}], {by_call}
    jmp publish

    # Back to guest code with the registers of the slot (rbx = slot). From here to `call_return_end`
    # only reads: an interrupt in between starts it over, and it then finds `PENDING` set.
call_return:
    cmp dword ptr [rbx + {want_frame}], 0
    jne .Lframe
    cmp dword ptr [rbx + {pending}], 0
    jne .Lpending
    mov rax, [rbx + {fs_base}]
    wrfsbase rax
    lea rsp, [rbx + {call_stack}]
    push qword ptr [rbx + {call_regs} + 0x88]
    popfq
    mov r8, [rbx + {call_regs} + 0x00]
    mov r9, [rbx + {call_regs} + 0x08]
    mov r10, [rbx + {call_regs} + 0x10]
    mov r11, [rbx + {call_regs} + 0x18]
    mov r12, [rbx + {call_regs} + 0x20]
    mov r13, [rbx + {call_regs} + 0x28]
    mov r14, [rbx + {call_regs} + 0x30]
    mov r15, [rbx + {call_regs} + 0x38]
    mov rdi, [rbx + {call_regs} + 0x40]
    mov rsi, [rbx + {call_regs} + 0x48]
    mov rbp, [rbx + {call_regs} + 0x50]
    mov rdx, [rbx + {call_regs} + 0x60]
    mov rax, [rbx + {call_regs} + 0x68]
    mov rcx, [rbx + {call_regs} + 0x70]
    mov rsp, [rbx + {call_regs} + 0x78]
    mov rbx, [rbx + {call_regs} + 0x58]
    jmp qword ptr gs:[{call_regs} + 0x80]
call_return_end:
    ud2

    # The Sentry was told to be wanted: the registers of the slot stay for it.
.Lpending:
    mov dword ptr [rbx + {pending}], 0
    mov dword ptr [rbx + {left_by}], {by_interrupt}
    jmp publish

    # A trap makes a frame, with the extended state in it. Its general registers are of no use.
.Lframe:
    mov eax, -1
    syscall
    ud2

    # The reserved signal (rbx = slot, rdx = ucontext). In guest code, or behind a gate (its end stands
    # for guest code): hands over. In the stub's own code or before a gate: the thread is on its way to
    # the Sentry, or waits for it, or is about to return.
interrupted:
    mov rax, [rdx + {uc_rip}]
    movabs rcx, {base}
    sub rax, rcx
    cmp rax, {gates_end}
    jae .Lhand_over
    cmp rax, {gates_start}
    jb .Lown_code
    and eax, {gate} - 1
    cmp eax, {gate_end}
    jae .Lhand_over
.Lown_code:
    mov dword ptr [rbx + {pending}], 1
    lea rcx, [rip + call_return]
    cmp [rdx + {uc_rip}], rcx
    jb .Lback
    lea rsi, [rip + call_return_end]
    cmp [rdx + {uc_rip}], rsi
    jae .Lback
    mov [rdx + {uc_rip}], rcx
    mov [rdx + {uc_rbx}], rbx
.Lback:
    mov rsp, rdx
    jmp .Lsigreturn
