//! The node's services: their configuration, command lines, and the order of their start.

use anyhow::Result;
use serde_json::json;

use super::certificates;
use super::kubectl::Kubectl;
use super::node::{Node, run};

pub const NODE: &str = "node";
pub const ADDRESS: &str = "192.0.2.10";
/// Name of the sandbox image.
pub const PAUSE: &str = "docker.io/library/pause:1";
const PKI: &str = "/etc/kubernetes/pki";

const CERTIFICATES: [(&str, &str); 4] = [
    ("admin", "/O=system:masters/CN=admin"),
    ("kubelet", "/O=system:nodes/CN=system:node:node"),
    ("server", "/CN=kube-apiserver"),
    ("service-account", "/CN=service-account"),
];

const CONTAINERD: &str = r#"
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/pause:1"
  disable_apparmor = true
  # Lowering the value below the parent's would need CAP_SYS_RESOURCE.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/containernetworking-plugins/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#;

const ETCD: &str = "--data-dir=/var/lib/etcd --listen-client-urls=http://127.0.0.1:2379 \
    --advertise-client-urls=http://127.0.0.1:2379 --listen-peer-urls=http://127.0.0.1:2380";

const API_SERVER: &str = "--etcd-servers=http://127.0.0.1:2379 --bind-address=127.0.0.1 --secure-port=6443 \
    --advertise-address=192.0.2.10 --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --client-ca-file=/etc/kubernetes/pki/ca.crt --tls-cert-file=/etc/kubernetes/pki/server.crt \
    --tls-private-key-file=/etc/kubernetes/pki/server.key \
    --kubelet-client-certificate=/etc/kubernetes/pki/admin.crt \
    --kubelet-client-key=/etc/kubernetes/pki/admin.key --kubelet-preferred-address-types=InternalIP \
    --kubelet-certificate-authority=/etc/kubernetes/pki/ca.crt \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-signing-key-file=/etc/kubernetes/pki/service-account.key \
    --service-account-key-file=/etc/kubernetes/pki/service-account.crt";

const CONTROLLER_MANAGER: &str = "--kubeconfig=/etc/kubernetes/admin.conf --leader-elect=false \
    --bind-address=127.0.0.1 --cert-dir=/run/kube-controller-manager \
    --service-account-private-key-file=/etc/kubernetes/pki/service-account.key";

const SCHEDULER: &str =
    "--kubeconfig=/etc/kubernetes/admin.conf --leader-elect=false --bind-address=127.0.0.1";

const KUBELET: &str = "--config=/etc/kubernetes/kubelet.json --kubeconfig=/etc/kubernetes/kubelet.conf \
    --container-runtime=remote --container-runtime-endpoint=unix:///run/containerd/containerd.sock \
    --hostname-override=node --node-ip=192.0.2.10";

/// Writes the configuration of every service to the node's disk.
pub fn configure(node: &Node) -> Result<()> {
    certificates::issue(&node.path(PKI), ADDRESS, &CERTIFICATES)?;
    for user in ["admin", "kubelet"] {
        node.write(&format!("/etc/kubernetes/{user}.conf"), &kubeconfig(user))?;
    }
    node.write("/etc/kubernetes/kubelet.json", &kubelet())?;
    node.write("/etc/containerd/config.toml", CONTAINERD)?;
    node.write("/etc/cni/net.d/10-node.conflist", &network())
}

/// Starts containerd.
pub fn start_containerd(node: &mut Node) -> Result<()> {
    node.start("containerd", &[])?;
    node.wait_for("containerd: answers", |node| run(node.command("ctr").ok()?.arg("version")).ok()).map(drop)
}

/// Starts everything but containerd, and waits until the node is ready.
pub fn start_kubernetes(node: &mut Node) -> Result<()> {
    start(node, "etcd", ETCD)?;
    start(node, "kube-apiserver", API_SERVER)?;
    node.wait_for("API server: ready", |node| {
        let answer = Kubectl(node).run(&["get", "--raw", "/readyz"]).ok()?;
        (answer == "ok").then_some(())
    })?;
    start(node, "kube-controller-manager", CONTROLLER_MANAGER)?;
    start(node, "kube-scheduler", SCHEDULER)?;
    // The node's last state from before a loss of power counts as unknown only after a while.
    let since = Kubectl(node).now()?;
    start(node, "kubelet", KUBELET)?;
    node.wait_for("node: ready", |node| Kubectl(node).is_node_ready(&since).ok()?.then_some(()))
}

/// Starts a service of Kubernetes by its command line.
fn start(node: &mut Node, name: &str, line: &str) -> Result<()> {
    node.start(name, &line.split_whitespace().collect::<Vec<_>>())
}

fn kubeconfig(user: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": {
            "server": "https://127.0.0.1:6443", "certificate-authority": format!("{PKI}/ca.crt"),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate": format!("{PKI}/{user}.crt"), "client-key": format!("{PKI}/{user}.key"),
        }}],
        "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": user}}],
        "current-context": "cluster",
    })
    .to_string()
}

fn kubelet() -> String {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "failSwapOn": false,
        "resolvConf": "",
        "makeIPTablesUtilChains": false,
        "tlsCertFile": format!("{PKI}/kubelet.crt"),
        "tlsPrivateKeyFile": format!("{PKI}/kubelet.key"),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": format!("{PKI}/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
    })
    .to_string()
}

fn network() -> String {
    let ipam = json!({"type": "host-local", "subnet": "10.244.0.0/24"});
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{"type": "bridge", "bridge": "pods0", "ipam": ipam}],
    })
    .to_string()
}
