//! The little of HTTP/1.1 that those who watch need: GET of a handful of paths, one per connection.
//!
//! Invariant: memory and time of a connection are bounded, and so is their number; what cannot be
//! answered is told why.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Duration, sleep, timeout};

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 32;
/// Request line and headers together.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// For the request to arrive, and for the answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is still coming when the answer is out is read for so long, or the client might not see it.
const LINGER: Duration = Duration::from_millis(500);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status, number and words.
    pub status: &'static str,
    /// The body's type.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// Who knows the answers.
pub trait Site: Send + Sync + 'static {
    /// The answer to a GET of a path, if there is one. May take a while.
    fn get(&self, path: &str) -> Option<Answer>;
    /// The paths there are.
    fn paths(&self) -> &'static str;
}

impl Answer {
    /// A line of plain text.
    pub fn text(status: &'static str, line: impl Into<String>) -> Answer {
        let mut body = line.into();
        body.push('\n');
        Answer { status, content_type: "text/plain; charset=utf-8", body }
    }
}

/// Answers until it is dropped.
pub async fn serve(listener: TcpListener, site: Arc<dyn Site>) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let site = Arc::clone(&site);
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, site).await {
                        tracing::debug!(%error, "a request for metrics was not answered");
                    }
                    drop(seat);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection for metrics was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(mut stream: TcpStream, site: Arc<dyn Site>) -> io::Result<()> {
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let (answer, with_body) = match timeout(PATIENCE, read_head(&mut stream)).await {
        Ok(head) => answer(head?, site).await,
        Err(_) => (Answer::text("408 Request Timeout", "the request did not end in time"), true),
    };
    let Answer { status, content_type, body } = answer;
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let mut text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}\
         Connection: close\r\n\r\n",
        body.len()
    );
    if with_body {
        text.push_str(&body);
    }
    let answered = async {
        stream.write_all(text.as_bytes()).await?;
        stream.flush().await?;
        stream.shutdown().await
    };
    timeout(PATIENCE, answered).await.map_err(|_| late())??;
    // Its end is the good case, and nothing is left to do in the others.
    let _ = timeout(LINGER, drain(&mut stream)).await;
    Ok(())
}

/// The request's head, none when it is too long.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n")
            && end <= HEAD_BYTES_MAX
        {
            head.truncate(end);
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
        if head.len() > HEAD_BYTES_MAX {
            return Ok(None);
        }
    }
}

async fn drain(stream: &mut TcpStream) -> io::Result<()> {
    let mut discarded = [0; 1024];
    for _ in 0..64 {
        if stream.read(&mut discarded).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// The answer, and whether its body is wanted.
async fn answer(head: Option<String>, site: Arc<dyn Site>) -> (Answer, bool) {
    let Some(head) = head else {
        let line = format!("request line and headers are longer than {HEAD_BYTES_MAX} bytes");
        return (Answer::text("431 Request Header Fields Too Large", line), true);
    };
    let line = head.split("\r\n").next().unwrap_or_default();
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return (Answer::text("400 Bad Request", "that is no request line of HTTP"), true);
    };
    if !version.starts_with("HTTP/1.") {
        return (Answer::text("505 HTTP Version Not Supported", "use HTTP/1.1"), true);
    }
    if !matches!(method, "GET" | "HEAD") {
        return (Answer::text("405 Method Not Allowed", "only GET and HEAD are answered"), true);
    }
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let paths = site.paths();
    // It looks many things up, which must not hold up who serves clients.
    let found = tokio::task::spawn_blocking(move || site.get(&path)).await;
    let answer = match found {
        Ok(Some(answer)) => answer,
        Ok(None) => Answer::text("404 Not Found", format!("there is {paths}")),
        Err(_) => Answer::text("500 Internal Server Error", "the log says why"),
    };
    (answer, method == "GET")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Here;

    impl Site for Here {
        fn get(&self, path: &str) -> Option<Answer> {
            (path == "/here").then(|| Answer::text("200 OK", "yes"))
        }
        fn paths(&self) -> &'static str {
            "/here"
        }
    }

    async fn ask(request: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, Arc::new(Here)));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        serving.abort();
        answer
    }

    #[tokio::test]
    async fn a_path_is_answered_with_or_without_its_body() {
        let answer = ask(b"GET /here?x=1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("Content-Length: 4\r\n") && answer.ends_with("\r\n\r\nyes\n"));
        let answer = ask(b"HEAD /here HTTP/1.0\r\n\r\n").await;
        assert!(answer.contains("Content-Length: 4\r\n") && answer.ends_with("\r\n\r\n"));
    }

    #[tokio::test]
    async fn what_cannot_be_answered_is_told_why() {
        let mut long = b"GET /here HTTP/1.1\r\nX: ".to_vec();
        long.resize(HEAD_BYTES_MAX + 100, b'x');
        for (request, status, why) in [
            (&b"GET /there HTTP/1.1\r\n\r\n"[..], "404", "/here"),
            (b"POST /here HTTP/1.1\r\n\r\n", "405", "GET"),
            (b"GET /here\r\n\r\n", "400", "request line"),
            (b"\xff\xfe\r\n\r\n", "400", "request line"),
            (b"PRI * HTTP/2.0\r\n\r\n", "505", "HTTP/1.1"),
            (&long, "431", "8192"),
        ] {
            let answer = ask(request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert!(answer.contains(why), "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_end_is_given_up() {
        let answer = ask(b"GET /here HTTP/1.1\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}
