# What runs in a stub beside guest code: the signal handler that hands over, and the command loop.
# In assembly, because nothing here may trust memory that guest code can write: all values come
# from the read-only order page and live in registers; there is no stack in use.

    .section .stub, "ax", @progbits
    .globl stub_start
stub_start:
    ud2
    # CALL_ENTRY: gates jump here.
    .org stub_start + 16
    jmp call_enter

    # A trap, fault or interrupt of a guest thread, on the thread's signal stack, which lies in its
    # slot: rdx = ucontext. All signals are blocked until rt_sigreturn.
    .globl stub_handler
    .balign 64
stub_handler:
    mov rbx, rsp
    and rbx, -{slot}
    cmp edi, {interrupt}
    je interrupted
.Lhand_over:
    mov dword ptr [rbx + {left_by}], {by_frame}
    mov [rbx + {ucontext}], rdx
    rdfsbase rax
    mov [rbx + {fs_base}], rax
    rdgsbase rax
    mov [rbx + {gs_base}], rax
publish:
    mov eax, {event}
    xchg [rbx + {state}], eax
    cmp dword ptr [rbx + {sentry_sleeps}], 0
    je stub_park
    lea rdi, [rbx + {state}]
    mov esi, 1
    mov edx, 1
    mov eax, 202
    syscall
site_wake:

    # Waits until the Sentry gives control back (rbx = slot).
stub_park:
    rdtscp
    shl rdx, 32
    or rax, rdx
    mov r12, rax
    mov [rbx + {stub_cpu}], ecx
    mov r13d, [rbx + {spin}]
    xor eax, eax
    cmp ecx, [rbx + {sentry_cpu}]
    cmove r13d, eax
.Lpoll:
    mov eax, [rbx + {state}]
    cmp eax, {event}
    jne .Lgiven
    pause
    rdtsc
    shl rdx, 32
    or rax, rdx
    sub rax, r12
    cmp rax, r13
    jb .Lpoll
    mov eax, 1
    xchg [rbx + {stub_sleeps}], eax
    lea rdi, [rbx + {state}]
    xor esi, esi
    mov edx, {event}
    xor r10d, r10d
    mov eax, 202
    syscall
site_wait:
    mov dword ptr [rbx + {stub_sleeps}], 0
    jmp .Lpoll
.Lgiven:
    cmp eax, {run}
    jne .Lexit
    cmp dword ptr [rbx + {left_by}], {by_frame}
    jne call_return
    mov rax, [rbx + {fs_base}]
    wrfsbase rax
    mov rax, [rbx + {gs_base}]
    wrgsbase rax
    rdtscp
    mov [rbx + {stub_cpu}], ecx
    mov rsp, [rbx + {ucontext}]
.Lsigreturn:
    mov eax, 15
    syscall
site_sigreturn:
    ud2
.Lexit:
    xor edi, edi
    mov eax, 60
    syscall
site_exit:
    ud2

    # The command thread. r12 = order page, r13d = last order done, r14 = operation, r15d = how many
    # are left, ebx = index, rbp = slot 0 or the operation's number (a new thread can't look into the
    # order page for it: the next order may be there already).
    .globl command_loop
    .balign 64
command_loop:
    movabs r12, {order}
    xor r13d, r13d
.Lorder_wait:
    movabs rbp, {slots}
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov r14, rax
    mov r15d, [r12 + {o_spin}]
.Lorder_poll:
    cmp [r12 + {o_seq}], r13d
    jne .Lorder
    pause
    rdtsc
    shl rdx, 32
    or rax, rdx
    sub rax, r14
    cmp rax, r15
    jb .Lorder_poll
    mov eax, 1
    xchg [rbp + {c_asleep}], eax
    cmp [r12 + {o_seq}], r13d
    jne .Lawake
    mov edi, {fd_wake}
    lea rsi, [rbp + {c_data}]
    mov edx, 64
    xor eax, eax
    syscall
    test rax, rax
    jle .Lgone
.Lawake:
    mov dword ptr [rbp + {c_asleep}], 0
    jmp .Lorder_poll
.Lgone:
    xor edi, edi
    mov eax, 231
    syscall
    ud2

.Lorder:
    mov r13d, [r12 + {o_seq}]
    mov r15d, [r12 + {o_count}]
    lea r14, [r12 + {o_ops}]
    xor ebx, ebx
.Lop:
    cmp ebx, r15d
    jae .Ldone
    mov rax, [r14]
    mov rbp, rax
    mov rdi, [r14 + 8]
    mov rsi, [r14 + 16]
    mov rdx, [r14 + 24]
    mov r10, [r14 + 32]
    mov r8, [r14 + 40]
    mov r9, [r14 + 48]
    syscall
    test rax, rax
    jz .Lmaybe_child
    cmp rax, -4096
    ja .Lfailed
.Lnext:
    inc ebx
    add r14, {op_len}
    jmp .Lop
.Lmaybe_child:
    cmp ebp, 56
    jne .Lnext

    # A new guest thread: rsp = its first ucontext. Signals are blocked until rt_sigreturn; it takes
    # on its filter before it looks at anything that a guest can write.
    mov edi, 1
    xor esi, esi
    lea rdx, [rip + guest_prog]
    mov eax, 317
    syscall
    test rax, rax
    jnz .Lgone
    mov rbx, rsp
    and rbx, -{slot}
    jmp stub_park

    # Results go through the file: index, errno, then the order's number, each copied from memory
    # that guest code can't write.
.Lfailed:
    neg rax
    mov ecx, 255
    cmp eax, ecx
    cmova eax, ecx
    and ebx, ecx
    mov r14d, eax
    lea rsi, [rip + codes]
    lea rsi, [rsi + 4 * rbx]
    mov edi, {fd_shared}
    mov edx, 4
    mov r10d, {o_index}
    mov eax, 18
    syscall
    lea rsi, [rip + codes]
    lea rsi, [rsi + 4 * r14]
    mov edi, {fd_shared}
    mov edx, 4
    mov r10d, {o_error}
    mov eax, 18
    syscall
.Ldone:
    mov edi, {fd_shared}
    lea rsi, [r12 + {o_seq}]
    mov edx, 4
    mov r10d, {o_done}
    mov eax, 18
    syscall
    cmp dword ptr [r12 + {o_waits}], 0
    je .Lorder_wait
    lea rdi, [r12 + {o_done}]
    mov esi, 1
    mov edx, 1
    mov eax, 202
    syscall
    jmp .Lorder_wait

    .balign 16
codes:
    .set n, 0
    .rept 256
    .long n
    .set n, n + 1
    .endr
