"""The rim: what touches sockets, files and clocks on behalf of a machine; decides nothing."""
