//! A static file server, HTTP/1.1 (RFC 9112): GET and HEAD, persistent connections, directory
//! listings. Nothing outside the directory is reachable, by `..` or by link.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use netstack::host::TcpStream;

/// Bytes of a request's head; more is refused.
const HEAD_MAX: u64 = 16 * 1024;
/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(60);

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    head_only: bool,
    /// Percent-decoded, without query.
    path: String,
    keep_alive: bool,
}

/// Serves one connection's requests from `root`, which must be canonical.
pub(crate) fn serve(stream: TcpStream, root: &Path) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(head) = read_head(&mut reader)? {
        let Some(request) = parse(&head) else {
            return plain(&mut writer, "400 Bad Request", &Request::closing());
        };
        respond(&mut writer, root, &request)?;
        if !request.keep_alive {
            return Ok(());
        }
    }
    Ok(())
}

/// The lines up to the empty one; `None` at the end of the stream.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut limited = reader.take(HEAD_MAX);
    loop {
        let before = head.len();
        limited.read_until(b'\n', &mut head)?;
        match &head[before..] {
            [] if head.is_empty() => return Ok(None),
            [] | b"\n" | b"\r\n" => break,
            _ => {}
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

fn parse(head: &str) -> Option<Request> {
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if !head.ends_with("\n\r\n") && !head.ends_with("\n\n") {
        return None;
    }
    let persistent = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return None,
    };
    let connection = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("connection"))
        .map(|(_, value)| value.trim().to_ascii_lowercase());
    let keep_alive = match connection.as_deref() {
        Some("close") => false,
        Some("keep-alive") => true,
        _ => persistent,
    };
    let path = target.split(['?', '#']).next()?;
    Some(Request {
        head_only: match method {
            "GET" => false,
            "HEAD" => true,
            _ => return None,
        },
        path: percent_decode(path)?,
        keep_alive,
    })
}

impl Request {
    fn closing() -> Self {
        Self {
            head_only: false,
            path: String::new(),
            keep_alive: false,
        }
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

fn respond(out: &mut impl Write, root: &Path, request: &Request) -> io::Result<()> {
    let Some(mut path) = resolve(root, &request.path) else {
        return plain(out, "404 Not Found", request);
    };
    if path.is_dir() {
        let index = path.join("index.html");
        if !index.is_file() {
            return listing(out, &path, request);
        }
        path = index;
    }
    let Some((file, len)) = open(&path) else {
        return plain(out, "403 Forbidden", request);
    };
    head(out, "200 OK", content_type(&path), len, request)?;
    if !request.head_only {
        // A file that shrinks meanwhile would leave the peer waiting: the connection ends then.
        let sent = io::copy(&mut file.take(len), out)?;
        if sent != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// A plain file and its length. Anything else is left alone: opening a pipe would wait for its other end.
fn open(path: &Path) -> Option<(File, u64)> {
    let len = path
        .metadata()
        .ok()
        .filter(std::fs::Metadata::is_file)?
        .len();
    Some((File::open(path).ok()?, len))
}

/// The file that a request's path names, if it is inside `root` once all links are followed.
fn resolve(root: &Path, path: &str) -> Option<PathBuf> {
    let relative = path.trim_start_matches('/');
    let file = root.join(relative).canonicalize().ok()?;
    file.starts_with(root).then_some(file)
}

fn listing(out: &mut impl Write, directory: &Path, request: &Request) -> io::Result<()> {
    let mut names: Vec<String> = directory
        .read_dir()?
        .filter_map(Result::ok)
        .map(|entry| {
            let is_dir = entry.path().is_dir();
            let slash = if is_dir { "/" } else { "" };
            format!("{}{slash}", entry.file_name().to_string_lossy())
        })
        .collect();
    names.sort_unstable();
    let base = request.path.trim_end_matches('/');
    let rows: String = names
        .iter()
        .map(|name| {
            let href = percent_encode(&format!("{base}/{name}"));
            format!("<li><a href=\"{href}\">{}</a>\n", escape(name))
        })
        .collect();
    let page = format!("<!doctype html><meta charset=utf-8><ul>\n{rows}</ul>\n");
    body(out, "200 OK", "text/html; charset=utf-8", &page, request)
}

fn plain(out: &mut impl Write, status: &str, request: &Request) -> io::Result<()> {
    body(out, status, "text/plain", &format!("{status}\n"), request)
}

fn body(
    out: &mut impl Write,
    status: &str,
    kind: &str,
    text: &str,
    request: &Request,
) -> io::Result<()> {
    head(out, status, kind, text.len() as u64, request)?;
    if request.head_only {
        return Ok(());
    }
    out.write_all(text.as_bytes())
}

fn head(
    out: &mut impl Write,
    status: &str,
    kind: &str,
    len: u64,
    request: &Request,
) -> io::Result<()> {
    let connection = if request.keep_alive {
        "keep-alive"
    } else {
        "close"
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nServer: netstack\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\nConnection: {connection}\r\n\r\n"
    );
    out.write_all(head.as_bytes())
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|e| e.to_str()) {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

fn percent_encode(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str) -> Request {
        parse(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).unwrap()
    }

    fn answer(root: &Path, path: &str) -> String {
        let mut out = Vec::new();
        respond(&mut out, root, &request(path)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn requests_are_understood() {
        assert_eq!(request("/a%20b?q=1").path, "/a b");
        assert!(request("/").keep_alive);
        assert!(!parse("GET / HTTP/1.0\r\n\r\n").unwrap().keep_alive);
        assert!(
            !parse("GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
                .unwrap()
                .keep_alive
        );
        assert!(parse("HEAD / HTTP/1.1\r\n\r\n").unwrap().head_only);
        for bad in [
            "",
            "GET /\r\n\r\n",
            "PUT / HTTP/1.1\r\n\r\n",
            "GET /%zz HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nunfinished",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn files_are_served_and_nothing_outside() {
        let outer = std::env::temp_dir().join(format!("netstack-http-{}", std::process::id()));
        let root = outer.join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("sub/a.txt"), "hello").unwrap();
        std::fs::write(outer.join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink(outer.join("secret"), root.join("link")).unwrap();
        let root = root.canonicalize().unwrap();

        assert!(answer(&root, "/sub/a.txt").ends_with("\r\n\r\nhello"));
        assert!(answer(&root, "/sub").contains("href=\"/sub/a.txt\""));
        nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(answer(&root, "/pipe").starts_with("HTTP/1.1 403"));
        for outside in [
            "/../secret",
            "/%2e%2e/secret",
            "/link",
            "//etc/passwd",
            "/none",
        ] {
            assert!(
                answer(&root, outside).starts_with("HTTP/1.1 404"),
                "{outside}"
            );
        }
        std::fs::remove_dir_all(&outer).unwrap();
    }
}
