//! A target for Prometheus whose page the test writes.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How long one request may stay silent before its connection is dropped, so that
/// a stuck client cannot hold up the next scrape.
const SILENCE: Duration = Duration::from_secs(1);

/// Makes the page of a scrape.
type Page = Box<dyn FnMut() -> String + Send>;

/// An HTTP server that answers every request with the current text. It has a
/// thread of its own, so it answers whatever the test's runtime does.
pub(crate) struct Exporter {
    address: SocketAddr,
    /// `None` ends the thread.
    page: Arc<Mutex<Option<Page>>>,
}

impl Exporter {
    /// Serves `page`, in Prometheus' text format, on a port of its own.
    pub(crate) fn start(page: &str) -> Self {
        Self::computed(always(page))
    }

    /// Serves what `page` says at each scrape.
    pub(crate) fn computed(page: impl FnMut() -> String + Send + 'static) -> Self {
        // The kernel's choice of port is safe here: it is bound in the same step.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let page = Arc::new(Mutex::new(Some(Box::new(page) as Page)));
        let served = Arc::clone(&page);
        thread::spawn(move || serve(&listener, &served));
        Self { address, page }
    }

    /// `127.0.0.1:PORT`, as a scrape target wants it.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Replaces the page from the next scrape on.
    pub(crate) fn set(&self, page: &str) {
        *self.page.lock().expect("no holder of the lock panics") = Some(Box::new(always(page)));
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        *self.page.lock().expect("no holder of the lock panics") = None;
        // Wakes the thread, which then finds no page. If nothing listens it is gone already.
        drop(TcpStream::connect(self.address));
    }
}

/// The same page at each scrape.
fn always(page: &str) -> impl FnMut() -> String + Send + 'static {
    let page = page.to_owned();
    move || page.clone()
}

fn serve(listener: &TcpListener, page: &Mutex<Option<Page>>) {
    for stream in listener.incoming() {
        let text = {
            let mut page = page.lock().expect("no holder of the lock panics");
            let Some(page) = page.as_mut() else { return };
            page()
        };
        // A client that went away is its own business.
        drop(stream.and_then(|stream| answer(stream, &text)));
    }
}

fn answer(mut stream: TcpStream, page: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    for line in BufReader::new(&stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    )
}
