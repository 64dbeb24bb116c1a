//! The manifests. That they are what Kubernetes takes, field by field, says its own schema; here is what no schema knows:
//! whether they fit together.

use std::fs;

use serde_yaml::Value;

use crate::files::{at, check_config, list, number, path, seconds, string, yaml};

fn manifest(name: &str) -> Value {
    yaml(&format!("kubernetes/{name}.yaml"))
}

/// What the node is run with: the config map, and the secret's variable.
fn config() -> Value {
    let map = manifest("configmap");
    let config = at(&map, "data").get("config.yaml").and_then(Value::as_str).unwrap();
    check_config(config, &[("EDGEWAY__BUS__URL", "redis://127.0.0.1:6379")])
}

#[test]
fn every_manifest_is_listed_and_every_listed_one_is_there() {
    let listed = list(&manifest("kustomization"), "resources");
    let mut listed: Vec<_> = listed.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    let files = fs::read_dir(path("kubernetes")).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> =
        files.filter(|name| !["kustomization.yaml", "secret.example.yaml"].contains(&&**name)).collect();
    listed.sort();
    files.sort();
    assert_eq!(listed, files);
}

#[test]
fn everything_selects_the_pods_of_the_deployment() {
    let deployment = manifest("deployment");
    let labels = at(&deployment, "spec.template.metadata.labels");
    assert_eq!(at(&deployment, "spec.selector.matchLabels"), labels);
    assert_eq!(at(&manifest("service"), "spec.selector"), labels);
    assert_eq!(at(&manifest("pdb"), "spec.selector.matchLabels"), labels);
    assert_eq!(at(&manifest("networkpolicy"), "spec.podSelector.matchLabels"), labels);
    let scaled = manifest("hpa");
    for field in ["kind", "apiVersion"] {
        assert_eq!(string(&scaled, &format!("spec.scaleTargetRef.{field}")), string(&deployment, field));
    }
    assert_eq!(string(&scaled, "spec.scaleTargetRef.name"), string(&deployment, "metadata.name"));
    assert!(number(&scaled, "spec.minReplicas") >= 2, "a node must be able to go");
}

#[test]
fn a_pod_may_do_nothing_that_it_need_not() {
    let deployment = manifest("deployment");
    let pod = at(&deployment, "spec.template.spec");
    assert_eq!(at(pod, "automountServiceAccountToken"), &Value::Bool(false));
    assert_eq!(at(pod, "securityContext.runAsNonRoot"), &Value::Bool(true));
    assert_eq!(string(pod, "securityContext.seccompProfile.type"), "RuntimeDefault");
    let container = at(pod, "containers.0");
    assert_eq!(at(container, "securityContext.allowPrivilegeEscalation"), &Value::Bool(false));
    assert_eq!(at(container, "securityContext.readOnlyRootFilesystem"), &Value::Bool(true));
    assert_eq!(string(container, "securityContext.capabilities.drop.0"), "ALL");
    let namespace = manifest("namespace");
    let enforced = at(&namespace, "metadata.labels").get("pod-security.kubernetes.io/enforce");
    assert_eq!(enforced.and_then(Value::as_str), Some("restricted"));
}

#[test]
fn probes_ask_the_paths_that_are_meant_for_them() {
    let deployment = manifest("deployment");
    let container = at(&deployment, "spec.template.spec.containers.0");
    for (probe, path) in
        [("livenessProbe", "/livez"), ("startupProbe", "/livez"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(string(container, &format!("{probe}.httpGet.path")), path);
        assert_eq!(string(container, &format!("{probe}.httpGet.port")), "admin");
    }
    let config = config();
    for (index, (name, key)) in [("http", "listen"), ("admin", "admin_listen")].into_iter().enumerate() {
        let port = at(container, &format!("ports.{index}"));
        assert_eq!(string(port, "name"), name);
        let expected = format!("0.0.0.0:{}", number(port, "containerPort"));
        assert_eq!(string(&config, key), expected);
    }
}

#[test]
fn a_pod_has_the_time_to_leave() {
    let deployment = manifest("deployment");
    let pod = at(&deployment, "spec.template.spec");
    let config = config();
    let before = number(pod, "containers.0.lifecycle.preStop.sleep.seconds");
    // What ends by itself has 3 s, the links to the bus 1 s.
    let leaving = before + seconds(&config, "drain.delay") + seconds(&config, "drain.spread") + 5;
    assert!(number(pod, "terminationGracePeriodSeconds") >= leaving);
}

#[test]
fn what_the_pod_is_told_by_secret_and_map_is_there() {
    let deployment = manifest("deployment");
    let pod = at(&deployment, "spec.template.spec");
    let (map, secret) = (manifest("configmap"), manifest("secret.example"));
    assert_eq!(string(pod, "volumes.0.configMap.name"), string(&map, "metadata.name"));
    let mount = string(pod, "containers.0.volumeMounts.0.mountPath");
    let arguments = list(pod, "containers.0.args");
    let file = format!("{mount}/config.yaml");
    assert!(arguments.iter().any(|argument| argument.as_str() == Some(&file)), "{arguments:?}");
    for variable in list(pod, "containers.0.env") {
        if let Some(reference) = variable.get("valueFrom").and_then(|from| from.get("secretKeyRef")) {
            assert_eq!(string(reference, "name"), string(&secret, "metadata.name"));
            string(&secret, &format!("stringData.{}", string(reference, "key")));
        }
    }
    // Queues fit into what the container may use, with as much again for the rest.
    assert_eq!(string(pod, "containers.0.resources.limits.memory"), "2Gi");
    assert_eq!(string(&config(), "session.memory_budget"), "1GiB");
}
