//! The image: what the Containerfile's own commands make, in a plain folder. No container engine builds it here.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use zenvoy_e2e::deploy::image::make;
use zenvoy_e2e::folder::Folder;

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(checkout().join(file)).unwrap_or_else(|error| panic!("read {file}: {error}"))
}

/// Every file below a folder with its mode, time and content; links with where they lead.
fn files(root: &Path) -> BTreeMap<PathBuf, (u32, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("read a folder") {
            let path = entry.expect("an entry").path();
            let metadata = path.symlink_metadata().expect("what it is");
            let content = if metadata.is_dir() {
                open.push(path.clone());
                Vec::new()
            } else if metadata.is_symlink() {
                path.read_link().expect("a link").into_os_string().into_encoded_bytes()
            } else {
                std::fs::read(&path).expect("read a file")
            };
            let below = path.strip_prefix(root).expect("below the root").to_path_buf();
            found.insert(below, (metadata.permissions().mode(), metadata.mtime(), content));
        }
    }
    found
}

/// What a program in the image prints, run there by a user without rights.
fn run(root: &Path, program: &[&str]) -> String {
    let output = Command::new("chroot").arg("--userspec=65532:65532").arg(root).args(program).output();
    let output = output.expect("run chroot");
    assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_image_holds_the_program_and_nft_with_what_they_need_and_no_shell() {
    let folder = Folder::new();
    let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
    make(&one);
    assert!(run(&one, &["/usr/bin/zenvoy", "version"]).starts_with("zenvoy "));
    assert!(run(&one, &["/usr/sbin/nft", "--version"]).starts_with("nftables "));

    make(&other);
    let found = files(&one);
    assert!(found == files(&other), "what is made twice is the same");
    for (path, (mode, time, _)) in &found {
        assert_eq!(*time, 0, "{}", path.display());
        let is_link = mode & 0o170_000 == 0o120_000;
        assert!(is_link || mode & 0o6022 == 0, "{}: {mode:o}", path.display());
    }
    let programs: Vec<&Path> = found
        .keys()
        .filter(|path| ["usr/bin", "usr/sbin"].iter().any(|folder| path.parent() == Some(Path::new(folder))))
        .map(PathBuf::as_path)
        .collect();
    assert_eq!(programs, [Path::new("usr/bin/zenvoy"), Path::new("usr/sbin/nft")]);
    let owner = one.join("usr/bin/zenvoy").metadata().expect("the program").uid();
    assert_eq!(owner, nix::unistd::getuid().as_raw(), "whoever made it, which is root in a build");
}

#[test]
fn the_containerfile_fits_the_sources() {
    let containerfile = read("Containerfile");
    let toolchain = read("rust-toolchain.toml");
    let version = toolchain.split('"').nth(1).expect("a version");
    assert!(containerfile.contains(&format!("/rust:{version}-")), "the compiler is {version}");
    // What cargo needs to know of the workspace is not left out of the context.
    let (ignored, workspace) = (read(".containerignore"), read("Cargo.toml"));
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = [")).expect("members");
    for member in members.split('"').skip(1).step_by(2) {
        let kept = ignored.lines().filter_map(|line| line.strip_prefix('!'));
        let is_kept = kept.into_iter().any(|kept| Path::new(member).starts_with(kept));
        assert!(is_kept, ".containerignore leaves {member} out");
    }
    for (line, word) in
        [("deploy/image /target/release/zenvoy /image", "deploy/image"), ("USER 65532:65532", "USER")]
    {
        assert!(containerfile.contains(line), "{word}");
    }
}
