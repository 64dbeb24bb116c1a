//! The link itself: what comes back, and what happens when the server is gone, silent, or not the one to ask.

use std::collections::HashMap;
use std::time::Duration;

use edgeway::adapters::outbound::redis::commands::{Config, RedisCommands};
use edgeway::adapters::outbound::redis::script::Script;
use edgeway::application::ports::bus::BusError;
use edgeway::application::vital::VitalTasks;
use redis::cmd;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::server::{Redis, RedisServer};

const RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);
/// By when the link must be up again: the longest back-off, and an attempt that began too early.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

fn link(server: &RedisServer) -> (RedisCommands, DropGuard) {
    let config =
        Config { response_timeout: RESPONSE_TIMEOUT, connect_timeout: RESPONSE_TIMEOUT, ..server.config() };
    let stop = CancellationToken::new();
    (RedisCommands::start(&config, &VitalTasks::default(), stop.clone()).unwrap(), stop.drop_guard())
}

async fn ping(commands: &RedisCommands) -> Result<String, BusError> {
    commands.query(&cmd("PING")).await
}

async fn recovers(commands: &RedisCommands) {
    timeout(RECOVERY_MAX, commands.wait_until(true)).await.expect("the link comes up again");
    assert_eq!(ping(commands).await.as_deref(), Ok("PONG"));
}

#[tokio::test]
async fn calls_that_come_before_the_first_connection_wait_for_it() {
    let server = RedisServer::shared();
    let (commands, _stop) = link(&server);
    assert_eq!(ping(&commands).await.as_deref(), Ok("PONG"));
}

#[tokio::test]
async fn a_pipeline_is_answered_in_order_and_fails_as_a_whole() {
    let redis = Redis::new().await;
    let key = format!("{}:n", redis.commands.keys().prefix());
    let increments: Vec<_> = (0..3).map(|_| cmd("INCR").arg(&key).to_owned()).collect();
    assert_eq!(redis.commands.pipeline::<u64>(&increments).await, Ok(vec![1, 2, 3]));
    assert_eq!(redis.commands.pipeline::<u64>(&[]).await, Ok(vec![]));
    let one_is_wrong = [increments[0].clone(), cmd("LPOP").arg(&key).to_owned()];
    assert_eq!(redis.commands.pipeline::<u64>(&one_is_wrong).await, Err(BusError::Unavailable));
    assert_eq!(redis.commands.query::<u64>(cmd("GET").arg(&key)).await, Ok(4));
}

#[tokio::test]
async fn a_script_that_the_server_does_not_know_is_sent_as_text_and_run_once() {
    // A server of its own: the test makes it forget all scripts.
    let server = RedisServer::start();
    let (commands, _stop) = link(&server);
    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    let call = script.call().key("n").arg(1);
    assert_eq!(commands.script::<u64>(&call).await, Ok(1));
    assert_eq!(commands.script::<u64>(&call).await, Ok(2));
    commands.query::<()>(cmd("SCRIPT").arg("FLUSH")).await.unwrap();
    let calls = [call.clone(), call.clone(), call];
    assert_eq!(commands.scripts::<u64>(&calls).await, Ok(vec![3, 4, 5]));
}

#[tokio::test]
async fn a_script_may_refuse_what_is_too_large() {
    let redis = Redis::new().await;
    let script = Script::new("return redis.error_reply('TOOLARGE more than allowed')");
    let refused: Result<(), _> = redis.commands.script(&script.call().key("n")).await;
    assert_eq!(refused, Err(BusError::TooLarge));
    assert!(redis.commands.is_up());
}

#[tokio::test]
async fn what_the_server_refuses_is_unavailable_and_the_link_stays() {
    let redis = Redis::new().await;
    assert_eq!(redis.commands.query::<()>(&cmd("NONSENSE")).await, Err(BusError::Unavailable));
    assert!(redis.commands.is_up());
}

#[tokio::test]
async fn a_killed_server_is_found_again_when_it_is_back() {
    let mut server = RedisServer::start();
    let (commands, _stop) = link(&server);
    ping(&commands).await.unwrap();
    server.kill();
    timeout(RECOVERY_MAX, commands.wait_until(false)).await.unwrap();
    let asked = Instant::now();
    assert_eq!(ping(&commands).await, Err(BusError::Unavailable));
    assert!(asked.elapsed() <= RESPONSE_TIMEOUT * 2);
    server.restart();
    recovers(&commands).await;
}

#[tokio::test]
async fn while_the_server_is_down_calls_fail_at_once() {
    let (commands, _tasks, _stop) = Redis::nowhere().await;
    let asked = Instant::now();
    for _ in 0..1000 {
        assert_eq!(ping(&commands).await, Err(BusError::Unavailable));
    }
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_stopped_server_costs_no_more_than_the_timeout_and_is_back_when_it_goes_on() {
    let server = RedisServer::start();
    let (commands, _stop) = link(&server);
    ping(&commands).await.unwrap();
    server.signal("-STOP");
    let asked = Instant::now();
    assert_eq!(ping(&commands).await, Err(BusError::Unavailable));
    assert!(asked.elapsed() < RESPONSE_TIMEOUT * 2, "{:?}", asked.elapsed());
    // It still takes connections, and never says a word on them.
    timeout(RECOVERY_MAX, commands.wait_until(false)).await.expect("found to be silent");
    let asked = Instant::now();
    assert_eq!(ping(&commands).await, Err(BusError::Unavailable));
    assert!(asked.elapsed() < RESPONSE_TIMEOUT / 2, "{:?}", asked.elapsed());
    server.signal("-CONT");
    recovers(&commands).await;
}

#[tokio::test]
async fn a_stopped_server_is_noticed_although_nobody_asks() {
    let server = RedisServer::start();
    let (commands, _stop) = link(&server);
    ping(&commands).await.unwrap();
    server.signal("-STOP");
    timeout(RECOVERY_MAX, commands.wait_until(false)).await.expect("found to be silent");
}

#[tokio::test]
async fn a_killed_connection_is_replaced() {
    let server = RedisServer::start();
    let (commands, _stop) = link(&server);
    let (other, _other_stop) = link(&server);
    let id: u64 = commands.query(cmd("CLIENT").arg("ID")).await.unwrap();
    let killed: u64 = other.query(cmd("CLIENT").arg("KILL").arg("ID").arg(id)).await.unwrap();
    assert_eq!(killed, 1);
    let replaced = async {
        while commands.query::<u64>(cmd("CLIENT").arg("ID")).await.map_or(true, |now| now == id) {
            tokio::task::yield_now().await;
        }
    };
    timeout(RECOVERY_MAX, replaced).await.unwrap();
}

#[tokio::test]
async fn a_demoted_server_is_connected_to_anew_and_its_refusal_is_no_answer() {
    let server = RedisServer::start();
    let (commands, _stop) = link(&server);
    let id: u64 = commands.query(cmd("CLIENT").arg("ID")).await.unwrap();
    // Of a server that does not exist: it stays read-only until it is told otherwise.
    commands.query::<()>(cmd("REPLICAOF").arg("127.0.0.1").arg(9)).await.unwrap();
    let set = cmd("SET").arg("k").arg(1).to_owned();
    assert_eq!(commands.query::<()>(&set).await, Err(BusError::Unavailable));
    timeout(RECOVERY_MAX, commands.wait_until(true)).await.unwrap();
    assert_ne!(commands.query::<u64>(cmd("CLIENT").arg("ID")).await.unwrap(), id);
    commands.query::<()>(cmd("REPLICAOF").arg("NO").arg("ONE")).await.unwrap();
    assert_eq!(commands.query::<()>(&set).await, Ok(()));
}

#[tokio::test]
async fn after_the_stop_nothing_is_left_and_calls_fail() {
    let server = RedisServer::shared();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let commands = RedisCommands::start(&server.config(), &tasks.clone().into(), stop.clone()).unwrap();
    ping(&commands).await.unwrap();
    stop.cancel();
    tasks.close();
    timeout(RECOVERY_MAX, tasks.wait()).await.unwrap();
    assert_eq!(ping(&commands).await, Err(BusError::Unavailable));
}

#[tokio::test]
async fn sentinels_name_the_server() {
    let server = RedisServer::start();
    let sentinel = RedisServer::sentinel_of(&server, "main");
    let url = sentinel.url("redis+sentinel").replace("127.0.0.1", "127.0.0.1:9,127.0.0.1") + "/main";
    let config = Config { prefix: "p".to_owned(), ..Config::new(url) };
    let stop = CancellationToken::new();
    let commands = RedisCommands::start(&config, &VitalTasks::default(), stop.clone()).unwrap();
    let _stop = stop.drop_guard();
    recovers(&commands).await;
    let settings: HashMap<String, String> =
        commands.query(cmd("CONFIG").arg("GET").arg("port")).await.unwrap();
    assert!(server.url("redis").ends_with(&settings["port"]), "it is the server, not the Sentinel");
}

#[tokio::test]
async fn a_cluster_takes_keys_of_all_slots_in_one_pipeline_and_is_found_again_when_it_is_back() {
    let mut server = RedisServer::cluster();
    let config = Config { prefix: "p".to_owned(), ..Config::new(server.url("redis+cluster")) };
    let stop = CancellationToken::new();
    let commands = RedisCommands::start(&config, &VitalTasks::default(), stop.clone()).unwrap();
    let _stop = stop.drop_guard();
    let serves = async || {
        while commands.query::<()>(cmd("SET").arg("k").arg(1)).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(RECOVERY_MAX, serves()).await.unwrap();
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    let calls: Vec<_> = (0..300).map(|n| script.call().key(format!("p:{{d:{n}}}:n"))).collect();
    assert_eq!(commands.scripts::<u64>(&calls).await, Ok(vec![1; 300]));
    let gets: Vec<_> = (0..300).map(|n| cmd("GET").arg(format!("p:{{d:{n}}}:n")).to_owned()).collect();
    assert_eq!(commands.pipeline::<u64>(&gets).await, Ok(vec![1; 300]));
    server.restart();
    timeout(RECOVERY_MAX, serves()).await.unwrap();
    assert_eq!(commands.script::<u64>(&calls[0]).await, Ok(1));
}
