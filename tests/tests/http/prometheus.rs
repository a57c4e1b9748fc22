//! A real Prometheus scrapes a real agent with the files of `deploy/`, and real faults fire its alerts.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::deployed::{dashboard, deployed, queries};
use firewall_tests::lab::TestHost;

use crate::setup::{Http as _, OFFICE_RULE, exchange, file, listening};

const AT: &str = "127.0.0.1:9090";

struct Prometheus<'a> {
    child: Child,
    host: &'a TestHost,
}

impl<'a> Prometheus<'a> {
    /// Starts Prometheus on the database host with a scrape interval of half a second. Alerts wait for seconds instead
    /// of minutes.
    fn start(host: &'a TestHost) -> Self {
        let dir = host.home.config().with_file_name("prometheus");
        fs::create_dir(&dir).unwrap();
        let scrape = fs::read_to_string(deployed("prometheus/scrape.yaml")).unwrap();
        let quick = scrape.replace("scrape_interval: 15s", "scrape_interval: 500ms");
        assert_ne!(quick, scrape);
        let global = "global: {evaluation_interval: 500ms}\nrule_files: [rules.yaml]\n";
        fs::write(dir.join("prometheus.yml"), format!("{global}{quick}")).unwrap();
        let rules = fs::read_to_string(deployed("prometheus/rules.yaml")).unwrap();
        let hasty = ["1m", "2m", "5m", "10m"]
            .iter()
            .fold(rules, |rules, span| rules.replace(&format!("for: {span}\n"), "for: 1s\n"));
        fs::write(dir.join("rules.yaml"), hasty).unwrap();
        let log = fs::File::create(dir.join("log")).unwrap();
        let mut command = host.db.command("prometheus");
        command
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address={AT}"))
            .arg("--log.level=warn")
            .current_dir(&dir);
        let child =
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { child, host }
    }

    fn log(&self) -> String {
        let path = self.host.home.config().with_file_name("prometheus").join("log");
        fs::read_to_string(Path::new(&path)).unwrap_or_default()
    }

    fn get(&self, path: &str) -> Option<Value> {
        let stream = self.host.db.connect(AT, Duration::from_secs(5)).ok()?;
        let reply = exchange(stream, &format!("GET {path} HTTP/1.0\r\nHost: a\r\n\r\n"))?;
        serde_json::from_str(&reply.body).ok()
    }

    fn query(&self, query: &str) -> Option<Value> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        self.get(&format!("/api/v1/query?query={escaped}"))
    }

    /// Returns the names of the firing alerts.
    fn firing(&self) -> Vec<String> {
        let answer = self.get("/api/v1/alerts").unwrap();
        let alerts = answer["data"]["alerts"].as_array().unwrap().iter();
        alerts
            .filter(|alert| alert["state"] == "firing")
            .map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned())
            .collect()
    }

    fn until(&self, what: &str, is_so: impl FnMut() -> bool) {
        let waited = firewall_tests::lab::eventually(Duration::from_secs(60), what, {
            let mut is_so = is_so;
            move || is_so().then_some(())
        });
        waited.unwrap_or_else(|error| panic!("{error:#}: {:?}\n{}", self.get("/api/v1/alerts"), self.log()));
    }

    fn until_firing(&self, alert: &str, fires: bool) {
        self.until(&format!("{alert} fires: {fires}"), || {
            self.firing().iter().any(|name| name == alert) == fires
        });
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_fires_on_planted_faults_and_evaluates_every_query() {
    let host = listening();
    host.apply("orders", 1, &[OFFICE_RULE]);
    let prometheus = Prometheus::start(&host);
    prometheus.until("the agent is scraped", || {
        let up = prometheus.query("up{job=\"firewall-agent\"}");
        up.is_some_and(|answer| answer["data"]["result"][0]["value"][1] == "1")
    });

    let understood = |query: &str| prometheus.query(query).unwrap()["status"] == "success";
    for query in queries(&dashboard()) {
        let filled = query.replace("$instance", ".*").replace("$__rate_interval", "1m");
        assert!(understood(&filled), "{query}: {:?}", prometheus.query(&filled));
    }
    assert!(!understood("sum(firewall_ready"), "the control");

    prometheus.until("every rule is evaluated", || {
        let answer = prometheus.get("/api/v1/rules").unwrap();
        answer["data"]["groups"][0]["rules"].as_array().unwrap().iter().all(|rule| rule["health"] == "ok")
    });
    let answer = prometheus.get("/api/v1/rules").unwrap();
    for rule in answer["data"]["groups"][0]["rules"].as_array().unwrap() {
        for field in ["summary", "runbook", "runbook_url"] {
            let text = rule["annotations"][field].as_str().unwrap_or_default();
            assert!(text.len() > 10, "{field} of {}", rule["name"]);
        }
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{rule:#}");
    }

    for quiet in
        ["FirewallAgentAbsent", "FirewallFileRejected", "FirewallInterfaceUnprotected", "FirewallErrors"]
    {
        prometheus.until_firing(quiet, false);
    }
    host.write("other.yaml", file("other", 1, &[]).replace("30092", "70000"));
    prometheus.until_firing("FirewallFileRejected", true);
    host.home.remove_rules("other.yaml").unwrap();
    prometheus.until_firing("FirewallFileRejected", false);
    host.home.remove_rules("orders.yaml").unwrap();
    prometheus.until_firing("FirewallDatabaseNotApplied", true);
}
