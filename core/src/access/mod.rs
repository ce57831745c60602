//! Reading protocols: sessions without sockets, and the scan gate that all of them use.
