//! Bad input: one table of what nobody should send, and the exact answer to each. The server is the real process; the
//! client writes bytes, over plaintext, TLS, HTTP/1.1 and HTTP/2, wherever a row applies.
//!
//! After every row a neighbour, a client that was connected before, must still be served. All rows run side by side:
//! those that wait for the server's patience to end wait together. `EDGEWAY_TEST_ROWS=text` runs those rows whose names
//! contain the text.

mod harness;

mod table {
    pub(crate) mod credentials;
    pub(crate) mod cursors;
    pub(crate) mod flood;
    pub(crate) mod frames;
    pub(crate) mod heads;
    pub(crate) mod ids;
    pub(crate) mod json;
    pub(crate) mod limits;
    pub(crate) mod origins;
    pub(crate) mod patience;
    pub(crate) mod upgrades;
}

use crate::harness::rows::{Rows, run};
use crate::harness::stage::Stage;

#[test]
fn every_bad_input_has_its_answer_and_the_neighbours_notice_nothing() {
    run(async {
        let stage = Stage::start().await;
        let mut rows = Rows::default();
        table::patience::add(&mut rows, &stage);
        table::heads::add(&mut rows, &stage);
        table::origins::add(&mut rows, &stage);
        table::upgrades::add(&mut rows, &stage);
        table::frames::add(&mut rows, &stage);
        table::flood::add(&mut rows, &stage);
        table::json::add(&mut rows, &stage);
        table::ids::add(&mut rows, &stage);
        table::credentials::add(&mut rows, &stage);
        table::cursors::add(&mut rows, &stage);
        table::limits::add(&mut rows, &stage);
        rows.check(&stage).await;
    });
}
