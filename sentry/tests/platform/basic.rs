//! System calls and registers.

use sentry::platform::Event;

use crate::guest::{CODE, Guest, Host, kinds, programs};

programs! {
    getpid_twice:
        "mov eax, 39", "syscall",
        "mov rbx, rax",
        "mov eax, 60", "syscall",
        "ud2";

}

#[test]
fn a_system_call_comes_and_goes() {
    for kind in kinds() {
        let host = Host::new(kind);
        let mut guest = Guest::new(&host, getpid_twice());
        assert_eq!(guest.syscall(), 39);
        assert_eq!(guest.regs.rax as i64, -38);
        assert_eq!(guest.regs.rip, CODE + 7);
        guest.regs.rax = 4242;
        assert_eq!(guest.syscall(), 60);
        assert_eq!(guest.regs.rbx, 4242);
        assert_eq!(
            guest.run().expect("alive"),
            Event::Exception {
                signo: 4,
                code: 2,
                addr: CODE + 17
            }
        );
    }
}
