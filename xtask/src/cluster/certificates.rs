//! The cluster's certificates: an authority of its own, and clients and servers that it signs.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use fs_err as fs;

use super::node::run;

const CONFIG: &str = "\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[signed]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth, serverAuth
subjectAltName = IP:127.0.0.1, IP:ADDRESS
";

/// Makes the authority `ca` and a certificate of each name and subject in `dir`: `NAME.crt` and `NAME.key`.
pub fn issue(dir: &Path, address: &str, names: &[(&str, &str)]) -> Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join("openssl.cnf"), CONFIG.replace("ADDRESS", address))?;
    run(&mut request(dir, "ca", "/CN=cluster", "authority"))?;
    for (name, subject) in names {
        run(request(dir, name, subject, "signed").args(["-CA", "ca.crt", "-CAkey", "ca.key"]))?;
    }
    Ok(())
}

fn request(dir: &Path, name: &str, subject: &str, extensions: &str) -> Command {
    let line =
        "req -x509 -config openssl.cnf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    let mut command = Command::new("openssl");
    command.current_dir(dir).args(line.split(' ')).args(["-subj", subject, "-extensions", extensions]);
    command.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")]);
    command
}
