//! Passwords must not turn up where they do not belong.

use std::{fs, thread};

use crate::server::{Server, files_below};

impl Server {
    /// No password has got into the log or the data folder, plain or as base64.
    ///
    /// # Panics
    /// When one has.
    pub fn assert_no_secret_is_visible(&self) {
        self.assert_no_secret_is_visible_but_in("");
    }

    /// As `assert_no_secret_is_visible`, but for one file of the data folder.
    ///
    /// # Panics
    /// When one is.
    pub fn assert_no_secret_is_visible_but_in(&self, exception: &str) {
        let log = self.log();
        for user in &self.users {
            for shape in user.shapes_of_password() {
                assert!(!log.contains(&shape), "the log shows a password of {}", user.name);
            }
        }
        for file in files_below(&self.data) {
            if file.file_name().is_some_and(|name| name == exception) {
                continue;
            }
            let octets = fs::read(&file).unwrap_or_default();
            for user in &self.users {
                for shape in user.shapes_of_password() {
                    let found = octets.windows(shape.len()).any(|window| window == shape.as_bytes());
                    assert!(!found, "{} holds a password of {}", file.display(), user.name);
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() || self.on_terminal {
            return;
        }
        // Cheap enough to be asked after every test.
        let log = self.log();
        for user in &self.users {
            for shape in user.shapes_of_password() {
                assert!(!log.contains(&shape), "the log shows a password of {}", user.name);
            }
        }
    }
}
