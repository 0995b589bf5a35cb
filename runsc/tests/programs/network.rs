//! Cases with traffic between the machine and the sandbox. Both directions go through netstack: a
//! capture on the machine's side of the link shows the connections, from SYN to FIN.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt::RcvBuf};

use crate::flows::{Flow, Flows};
use crate::run::{self, Outcome, Server};
use crate::shared::capture::Capture;

/// A check and the programs it needs.
pub(crate) struct NetworkCase {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [&'static str],
    pub(crate) check: fn() -> Outcome,
}

/// All of them.
pub(crate) const ALL: &[NetworkCase] = &[
    NetworkCase {
        name: "python_http_server",
        needs: &["python3", "curl"],
        check: python_http_server,
    },
    NetworkCase {
        name: "ipv6_both_ways",
        needs: &["python3", "curl", "ping"],
        check: ipv6_both_ways,
    },
    NetworkCase {
        name: "nginx_and_wrk",
        needs: &["nginx", "wrk", "curl"],
        check: nginx_and_wrk,
    },
    NetworkCase {
        name: "redis",
        needs: &["redis-server", "redis-benchmark"],
        check: redis,
    },
    NetworkCase {
        name: "curl_inside",
        needs: &["python3", "curl"],
        check: curl_inside,
    },
    NetworkCase {
        name: "written_before_the_end",
        needs: &["python3"],
        check: written_before_the_end,
    },
    NetworkCase {
        name: "iperf3_inside",
        needs: &["iperf3"],
        check: iperf3_inside,
    },
    NetworkCase {
        name: "ping_from_outside",
        needs: &["ping", "python3"],
        check: ping_from_outside,
    },
];

const SANDBOX: Ipv4Addr = Ipv4Addr::new(192, 168, 131, 2);
const MACHINE: Ipv4Addr = Ipv4Addr::new(192, 168, 131, 1);

/// Runs a native client to success and returns its output.
pub(crate) fn client(script: &str) -> Result<String, String> {
    let done = run::finish(run::native(script))?;
    if done.status.success() {
        Ok(done.stdout)
    } else {
        Err(format!("the client failed:\n{}", done.describe()))
    }
}

/// The link to the sandbox, watched from the machine's side.
struct Watch {
    capture: Capture,
    flows: Flows,
}

impl Watch {
    fn start() -> Self {
        Self {
            capture: Capture::start(),
            flows: Flows::new(SANDBOX),
        }
    }

    /// Every connection with a server at `port` that carried data both ways was netstack's, and one at
    /// least was seen from SYN to FIN in both directions. The last segments may still be under way.
    fn saw(&mut self, port: u16) -> Outcome {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            self.flows.add(&self.capture.frames());
            let used: Vec<&Flow> = self.flows.of(port).filter(|flow| flow.used()).collect();
            if let Some(strange) = used.iter().find(|flow| !flow.by_netstack()) {
                return Err(format!("not netstack's connection: {strange:#?}"));
            }
            if used.iter().any(|flow| flow.whole()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let (all, used) = (self.flows.of(port).count(), used.len());
                let last = self.flows.of(port).last();
                return Err(format!(
                    "no connection from SYN to FIN among {all}, {used} with data; the last: {last:#?}"
                ));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// No socket of the kernel's can have the sandbox's address, at least not by the usual way.
fn address_is_not_the_machines() -> Outcome {
    match TcpListener::bind((SANDBOX, 0)) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => Ok(()),
        other => Err(format!(
            "{SANDBOX} is an address of this machine: {other:?}"
        )),
    }
}

/// The sandbox's end of its link in IPv6, which follows from its IPv4 address.
const SANDBOX6: &str = "fd72:756e:c0a8:8301::2";
const MACHINE6: &str = "fd72:756e:c0a8:8301::1";

/// A server inside that both families reach, and a client inside.
fn ipv6_both_ways() -> Outcome {
    let file = run::pattern_file("page6", 5 << 20)?;
    let (dir, name) = (file.parent(), file.file_name());
    let dir = dir.unwrap_or(Path::new("/tmp")).display().to_string();
    let name = name.unwrap_or_default().to_string_lossy().into_owned();
    let script = format!("cd {dir} && exec python3 -u -m http.server --bind :: 8000");
    let mut server = Server::start(run::sandboxed_at(SANDBOX, &script), "http6")?;
    server.wait_for((SANDBOX, 8000))?;
    for host in [format!("[{SANDBOX6}]"), SANDBOX.to_string()] {
        client(&format!(
            "curl -g -sS --max-time 60 http://{host}:8000/{name} | cmp - {}",
            file.display()
        ))?;
    }
    client(&format!("ping -6 -c 3 -i 0.05 -W 10 {SANDBOX6}"))?;
    drop(server);
    let script = format!("cd {dir} && exec python3 -u -m http.server --bind :: 8001");
    let mut server = Server::start(run::native(&script), "outside6")?;
    server.wait_for((Ipv4Addr::LOCALHOST, 8001))?;
    let script = format!("curl -g -sS --max-time 60 http://[{MACHINE6}]:8001/{name} | md5sum");
    let inside = run::finish(run::sandboxed_at(SANDBOX, &script))?;
    let expected = client(&format!("md5sum < {}", file.display()))?;
    let _ = std::fs::remove_file(&file);
    if inside.stdout == expected {
        Ok(())
    } else {
        Err(format!("another file came:\n{}", inside.describe()))
    }
}

fn python_http_server() -> Outcome {
    let file = run::pattern_file("page", 20 << 20)?;
    let dir = file
        .parent()
        .unwrap_or(Path::new("/tmp"))
        .display()
        .to_string();
    let script = format!("cd {dir} && exec python3 -u -m http.server 8000");
    let mut server = Server::start(run::sandboxed_at(SANDBOX, &script), "http")?;
    server.wait_for((SANDBOX, 8000))?;
    address_is_not_the_machines()?;
    let mut watch = Watch::start();
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let result = client(&format!(
        "curl -sS --max-time 60 http://{SANDBOX}:8000/{name} | cmp - {} && echo same",
        file.display()
    ));
    let seen = watch.saw(8000);
    let _ = std::fs::remove_file(&file);
    match result {
        Ok(text) if text == "same\n" => seen,
        Ok(text) => Err(format!("unexpected: {text}")),
        Err(why) => Err(format!("{why}{}", server.output())),
    }
}

fn nginx_and_wrk() -> Outcome {
    let script = r"d=$(mktemp -d); mkdir -p $d/html; head -c 1024 /dev/zero | tr '\0' x > $d/html/index.html
        printf 'daemon off; error_log stderr; pid %s/pid; user root; worker_processes 2; events { worker_connections 512; } http { access_log off; client_body_temp_path %s; proxy_temp_path %s; fastcgi_temp_path %s; uwsgi_temp_path %s; scgi_temp_path %s; server { listen 80; root %s/html; } }' $d $d $d $d $d $d $d > $d/conf
        exec nginx -c $d/conf -e stderr";
    let mut server = Server::start(run::sandboxed_at(SANDBOX, script), "nginx")?;
    server.wait_for((SANDBOX, 80))?;
    let mut watch = Watch::start();
    let text = client(&format!("wrk -t 1 -c 32 -d 2s http://{SANDBOX}/"))?;
    // wrk leaves with requests under way, so that each of its connections may end by a reset.
    client(&format!("curl -sS --max-time 60 http://{SANDBOX}/"))?;
    watch.saw(80)?;
    let answered = text.lines().find_map(|line| {
        let (count, _) = line.trim().split_once(" requests in ")?;
        count.parse::<u64>().ok()
    });
    let bad = text.contains("Socket errors")
        || text.contains("Non-2xx")
        || answered.is_none_or(|count| count == 0);
    if bad {
        Err(format!("wrk saw errors:\n{text}{}", server.output()))
    } else {
        Ok(())
    }
}

fn redis() -> Outcome {
    let script = "exec redis-server --save '' --appendonly no --bind 0.0.0.0 --protected-mode no";
    let mut server = Server::start(run::sandboxed_at(SANDBOX, script), "redis")?;
    server.wait_for((SANDBOX, 6379))?;
    let mut watch = Watch::start();
    let text = client(&format!(
        "redis-benchmark -h {SANDBOX} -t set,get,lpush -n 5000 -c 20 --csv && redis-cli -h {SANDBOX} set k v && redis-cli -h {SANDBOX} get k"
    ))?;
    watch.saw(6379)?;
    if text.ends_with("OK\nv\n") {
        Ok(())
    } else {
        Err(format!("unexpected: {text}{}", server.output()))
    }
}

/// A program writes, tells so by another connection, and ends at once. Only then does the peer, whose
/// window is small, begin to read; it gets everything, as from a kernel that outlives the program.
fn written_before_the_end() -> Outcome {
    const LEN: usize = 128 << 10;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8005)).map_err(|e| e.to_string())?;
    setsockopt(&listener, RcvBuf, &4096).map_err(|e| e.to_string())?;
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let _written = listener.accept()?;
        let mut data = Vec::new();
        stream.read_to_end(&mut data)?;
        Ok::<usize, std::io::Error>(data.len())
    });
    let script = format!(
        "exec python3 -c \"import socket, os; s = socket.socket(); \
         s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20); s.connect(('{MACHINE}', 8005)); \
         s.sendall(bytes({LEN})); socket.create_connection(('{MACHINE}', 8005)); os._exit(0)\""
    );
    let inside = run::finish(run::sandboxed_at(SANDBOX, &script))?;
    if !inside.status.success() {
        return Err(inside.describe());
    }
    match reader.join().expect("the reader") {
        Ok(LEN) => Ok(()),
        other => Err(format!("{other:?} of {LEN} bytes arrived")),
    }
}

/// The machine's end of the link exists only while a sandbox runs, so the server listens on every address.
fn curl_inside() -> Outcome {
    let file = run::pattern_file("download", 5 << 20)?;
    let dir = file
        .parent()
        .unwrap_or(Path::new("/tmp"))
        .display()
        .to_string();
    let mut server = Server::start(
        run::native(&format!("cd {dir} && exec python3 -u -m http.server 8001")),
        "outside",
    )?;
    server.wait_for((Ipv4Addr::LOCALHOST, 8001))?;
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let script = format!(
        "curl -sS --max-time 60 http://{MACHINE}:8001/{name} | sha256sum; exit ${{PIPESTATUS[0]}}"
    );
    let mut watch = Watch::start();
    let inside = run::finish(run::sandboxed_at(SANDBOX, &script));
    let seen = watch.saw(8001);
    let outside = client(&format!("sha256sum < {}", file.display()));
    let _ = std::fs::remove_file(&file);
    let (inside, outside) = (inside?, outside?);
    if inside.stdout == outside {
        seen
    } else {
        Err(format!(
            "expected {outside}{}{}",
            inside.describe(),
            server.output()
        ))
    }
}

fn iperf3_inside() -> Outcome {
    let mut server = Server::start(run::native("exec iperf3 -s --forceflush"), "iperf3")?;
    for (direction, tests) in [("", 1), ("-R", 2)] {
        server.wait_for_output("Server listening", tests)?;
        let script = format!("iperf3 -c {MACHINE} -n 64M {direction} --connect-timeout 5000");
        let mut watch = Watch::start();
        let done = run::finish(run::sandboxed_at(SANDBOX, &script))?;
        let seen = watch.saw(5201);
        if !done.status.success() || !done.stdout.contains("receiver") {
            return Err(format!(
                "iperf3 {direction} failed:\n{}{}",
                done.describe(),
                server.output()
            ));
        }
        seen?;
    }
    Ok(())
}

fn ping_from_outside() -> Outcome {
    let mut server = Server::start(
        run::sandboxed_at(SANDBOX, "exec python3 -u -m http.server 8000"),
        "ping",
    )?;
    server.wait_for((SANDBOX, 8000))?;
    let text = client(&format!("ping -c 3 -i 0.2 -W 5 {SANDBOX}"))?;
    if text.contains(" 0% packet loss") {
        Ok(())
    } else {
        Err(text)
    }
}
