"""Accounting of a made-up cluster: a private database server and slurmdbd, so that sacct answers."""

from tests.slurm.daemons import Daemon, program
from tests.slurm.layout import slurmdbd_conf

PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db")
STARTUP_S = 60
# A database for one test run: what a crash would lose is of no interest, and the disk is shared.
FAST = ("--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M")


def start(cluster):
    """Start the database and slurmdbd, and make the cluster known."""
    _start_database(cluster)
    configuration = cluster.folder / "slurmdbd.conf"
    configuration.touch(0o600)  # slurmdbd refuses one that others can read
    configuration.write_text(slurmdbd_conf(cluster.folder, cluster.ports))
    daemon = Daemon(cluster.folder, "slurmdbd")
    daemon.start(program("slurmdbd"), "-D", env=cluster.env())
    add = ["sacctmgr", "-i", "add", "cluster", cluster.layout.cluster_name]
    daemon.wait_for(lambda: cluster.run(*add, check=False).returncode == 0, STARTUP_S)


def _start_database(cluster):
    folder = cluster.folder / "database"
    user = cluster.run("id", "-un").stdout.strip()
    options = ["--no-defaults", f"--datadir={folder}", f"--user={user}"]
    # --no-defaults must come first, or the system-wide configuration is read.
    cluster.run(program("mariadb-install-db"), *options, "--auth-root-authentication-method=normal", *FAST)
    daemon = Daemon(cluster.folder, "mariadbd")
    socket = folder / "socket"
    network = [f"--socket={socket}", f"--port={cluster.ports.database}", "--bind-address=127.0.0.1"]
    daemon.start(program("mariadbd"), *options, *network, f"--pid-file={folder}/own", *FAST, env=cluster.env())
    client = [program("mariadb"), "--no-defaults", f"--socket={socket}", "--user=root"]
    daemon.wait_for(lambda: cluster.run(*client, "-e", "SELECT 1", check=False).returncode == 0, STARTUP_S)
    grant = (
        "CREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'made-up'; GRANT ALL ON slurm_accounting.* TO slurm@'127.0.0.1'"
    )
    cluster.run(*client, "-e", grant)
