//! I6: what is left when nothing happens any more.

use serde_json::Value;
use zenvoy_e2e::process::Process;
use zenvoy_e2e::store::Records;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::{Controller, Fleet, Node};

/// Of a controller or proxy with a dozen services, in a debug build: far from what either needs.
const MEMORY_KB: u64 = 300 * 1024;
const DESCRIPTORS: usize = 500;

pub(super) async fn found(fleet: &mut Fleet, records: &mut Records) -> Vec<String> {
    let mut found = Vec::new();
    let (nodes, controllers) = (fleet.nodes.len(), fleet.controllers.len());
    let workloads = fleet.audit().all().len();
    // Records of the dead go with their leases.
    until::so("only living controllers are known", async || {
        records.all("controllers/").await.len() == controllers
    })
    .await;
    for (room, most) in [
        ("nodes/", nodes),
        ("wakes/", workloads),
        ("drains/", workloads),
        ("drain-acks/", workloads * controllers),
        // A record for each workload at most, and one for the nodes.
        ("idle-votes/", (workloads + 1) * controllers),
        ("refusals/", controllers),
        ("ports/by-address/", workloads),
    ] {
        let count = records.all(room).await.len();
        if count > most {
            found.push(format!("I6: {count} records in {room}, not {most}"));
        }
    }
    for node in &fleet.nodes {
        let waiting = node.status().await["waiting"].clone();
        if waiting != 0 {
            found.push(format!("I6: {} still holds {waiting} connections", node.name()));
        }
    }
    let (mut sessions, mut streams) = (0, 0);
    for controller in &fleet.controllers {
        let status = controller.status().await;
        sessions += status["sessions"].as_u64().unwrap_or_default();
        let served = status["streams"].as_array().map_or(&[][..], Vec::as_slice);
        streams += served.len();
        let types = served.iter().flat_map(|stream| stream["types"].as_array().into_iter().flatten());
        for of_type in types.filter(|of_type| of_type["rejected"] != Value::Array(Vec::new())) {
            found.push(format!("I4: a node has refused {}: {}", of_type["type"], of_type["rejected"]));
        }
    }
    // Of each node: its proxy's stream and its Envoy's.
    if sessions != nodes as u64 || streams != 2 * nodes {
        found.push(format!("I6: {sessions} sessions and {streams} streams of {nodes} nodes"));
    }
    let processes = fleet.controllers.iter_mut().map(Controller::process);
    for process in processes.chain(fleet.nodes.iter_mut().map(Node::proxy)) {
        found.extend(grown(process));
    }
    found
}

fn grown(process: &mut Process) -> Vec<String> {
    process.assert_running();
    let folder = format!("/proc/{}", process.pid());
    let status =
        std::fs::read_to_string(format!("{folder}/status")).expect("a process that runs has a status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident =
        resident.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(u64::MAX);
    let descriptors =
        std::fs::read_dir(format!("{folder}/fd")).expect("a process that runs has descriptors").count();
    let mut found = Vec::new();
    if resident > MEMORY_KB || descriptors > DESCRIPTORS {
        found.push(format!("I6: {} has {resident} kB and {descriptors} descriptors", process.name()));
    }
    let log = process.log();
    for line in log.lines().filter(|line| line.contains("panicked") || line.contains("fault of zenvoy")) {
        found.push(format!("{}: {line}", process.name()));
    }
    found
}
