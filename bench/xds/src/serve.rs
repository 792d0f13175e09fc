//! zenvoy-xds as a process. In: `change NUMBER PORT` on standard input; out: its address, then the count of encodings
//! after each change.

use prost::Message;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use zenvoy_xds::core::Change;
use zenvoy_xds::server::{Group, Server, incoming, transport};

use crate::resources::{EDS, all, endpoints, name};

pub(crate) async fn run(resources: usize) -> anyhow::Result<()> {
    let server = Server::new();
    server.apply(all(resources));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let router = transport().add_service(server.service());
    let serving = tokio::spawn(router.serve_with_incoming(incoming(listener)));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let mut words = line.split(' ').skip(1);
        let (Some(number), Some(port)) = (words.next(), words.next()) else { continue };
        let (name, port) = (name(number.parse()?), port.parse()?);
        server.apply([Change::set(EDS, name.as_str(), endpoints(&name, port).encode_to_vec())]);
        println!("encoded {}", server.snapshot(&Group::default()).encoded());
    }
    serving.abort();
    Ok(())
}
