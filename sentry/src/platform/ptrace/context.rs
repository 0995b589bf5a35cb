//! A guest thread, seen from the Sentry.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use nix::errno::Errno;
use sentry_abi::Regs;

use super::tracer::{Lost, Tracer};
use crate::platform::systrap::Thread;
use crate::platform::{Context, Event, Interrupt, PlatformError, sys};

/// A traced guest thread.
pub(super) struct Traced {
    thread: Arc<Thread>,
    asks: Option<Sender<Ask>>,
    answers: Receiver<Result<Answer, Lost>>,
    tracer: Option<JoinHandle<()>>,
    cpu_cycles: u64,
}

enum Ask {
    Run(Box<Regs>),
    Fp,
    SetFp(Vec<u8>),
}

enum Answer {
    Ready,
    Ran(Box<Regs>, Option<Event>),
    Fp(Vec<u8>),
}

const LOST: PlatformError = PlatformError::Dead("its traced thread is lost");

impl Traced {
    pub(super) fn start(thread: Thread) -> Result<Self, PlatformError> {
        let thread = Arc::new(thread);
        let (asks, asked) = channel();
        let (answer, answers) = channel();
        let traced = Arc::clone(&thread);
        let tracer = std::thread::Builder::new()
            .name("tracer".into())
            .spawn(move || serve(&traced, &asked, &answer))
            .map_err(|_| PlatformError::Exhausted("threads"))?;
        let this = Self {
            thread,
            asks: Some(asks),
            answers,
            tracer: Some(tracer),
            cpu_cycles: 0,
        };
        match this.answers.recv() {
            Ok(Ok(_)) => Ok(this),
            _ => Err(LOST),
        }
    }

    fn ask(&self, ask: Ask) -> Result<Answer, PlatformError> {
        let asked = self.asks.as_ref().map(|asks| asks.send(ask).is_ok());
        match (asked, self.answers.recv()) {
            (Some(true), Ok(Ok(answer))) => Ok(answer),
            _ => Err(LOST),
        }
    }
}

/// The tracer's life: until nobody asks any more, or the tracee is lost.
fn serve(thread: &Thread, asked: &Receiver<Ask>, answer: &Sender<Result<Answer, Lost>>) {
    let tracer = match Tracer::attach(thread) {
        Ok(tracer) => tracer,
        Err(lost) => return drop(answer.send(Err(lost))),
    };
    let _ = answer.send(Ok(Answer::Ready));
    while let Ok(ask) = asked.recv() {
        let result = match ask {
            Ask::Run(mut regs) => tracer
                .run(thread, &mut regs)
                .map(|event| Answer::Ran(regs, event)),
            Ask::Fp => tracer.fp_state().map(Answer::Fp),
            Ask::SetFp(area) => tracer.set_fp_state(&area).map(|()| Answer::Ready),
        };
        let lost = result.is_err();
        if answer.send(result).is_err() || lost {
            break;
        }
    }
    let _ = tracer.release();
}

impl Context for Traced {
    fn run(&mut self, regs: &mut Regs) -> Result<Event, PlatformError> {
        loop {
            if self.thread.enter_guest() {
                return Ok(Event::Interrupted);
            }
            let start = sys::tsc();
            let answer = self.ask(Ask::Run(Box::new(*regs)));
            self.cpu_cycles += sys::tsc().wrapping_sub(start);
            self.thread.leave_guest();
            let Answer::Ran(now, event) = answer? else {
                return Err(LOST);
            };
            *regs = Regs {
                cs: 0x33,
                ss: 0x2b,
                ds: 0,
                es: 0,
                fs: 0,
                gs: 0,
                ..*now
            };
            match event {
                Some(event) => return Ok(event),
                None if self.thread.take_interrupt() => return Ok(Event::Interrupted),
                None => {}
            }
        }
    }

    fn fp_state(&mut self) -> Vec<u8> {
        match self.ask(Ask::Fp) {
            Ok(Answer::Fp(area)) => area,
            _ => self.thread.fp_layout().reset_area(),
        }
    }

    fn set_fp_state(&mut self, fp: Option<&[u8]>) -> Result<(), PlatformError> {
        let layout = self.thread.fp_layout();
        let area = fp.map_or_else(|| layout.reset_area(), <[u8]>::to_vec);
        if !layout.accepts(&area) {
            return Err(PlatformError::host("extended state", Errno::EINVAL));
        }
        self.ask(Ask::SetFp(area)).map(drop)
    }

    fn interrupt_handle(&self) -> Arc<dyn Interrupt> {
        self.thread.interrupter()
    }

    fn cpu_time_ns(&self) -> u64 {
        sys::cycles_to_ns(self.cpu_cycles)
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        drop(self.asks.take());
        if let Some(tracer) = self.tracer.take() {
            let _ = tracer.join();
        }
        // Untraced, it comes to wait in the stub; then it can be told to end.
        let _ = self.thread.wait();
    }
}
