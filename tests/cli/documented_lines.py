"""The command lines of domain.md section 2, each with what it means."""

from __future__ import annotations

import shlex

FILES = {
    "-": b'a "line"\nC:\\n\n',
    "./cert_chain.pem": b"-----BEGIN CERTIFICATE-----\r\nMIIB\r\n",
    "./key.pem": b"key: [x\n",
    "/root/tls_ca": b"ca\n",
    "file.keytab": b"\x05\x02\xff\x00",
}
LICENCE = "MIME-Version: 1.0\nContent-Type: text/plain\n\n[Contract]\na = {b"

SCHEDULE: dict[str, object] = {"enabled": "true", "level": "0", "expire": "1w 3d", "day": "*", "month": "*"}

# The line as typed, the job, its parameters and the other fields.
Line = tuple[str, str | None, dict[str, object], dict[str, object]]
DOCUMENTED: list[Line] = [
    ("-c db_start -a 'db_name: Exasol'", "db_start", {"db_name": "Exasol"}, {}),
    ("-c db_start -a '{db_name: Exasol}'", "db_start", {"db_name": "Exasol"}, {}),
    ("db_start -a '{db_name: Exasol}'", "db_start", {"db_name": "Exasol"}, {}),
    ("db_start db_name: Exasol", "db_start", {"db_name": "Exasol"}, {}),
    ("-c db_list", "db_list", {}, {}),
    ("-c help -a db_start", "db_start", {}, {"help": True}),
    ("-c info", "info", {}, {}),
    (
        """-c db_configure -a '{db_name: exasol, params:"-forceProtocolEncryption=1"}'""",
        "db_configure",
        {"db_name": "exasol", "params": "-forceProtocolEncryption=1"},
        {},
    ),
    (
        (
            r"""-c remote_volume_add -a '{"vol_type":"smb","url":"smb:////10.144.35.139/X","username":"D\\U", """
            """"owner": [500,500], "options":["timeout=6000,cleanvolume"]}'"""
        ),
        "remote_volume_add",
        {
            "vol_type": "smb",
            "url": "smb:////10.144.35.139/X",
            "username": "D\\U",
            "owner": ["500", "500"],
            "options": ["timeout=6000,cleanvolume"],
        },
        {},
    ),
    (
        (
            "-c db_backup_add_schedule -a '{db_name: exasol, backup_name: full backup, "
            'backup_volume_name: r0001, enabled: True, level: 0, expire: "1w 3d", minute: 0, hour: 1, '
            """day: "*", month: "*", weekday: 6}'"""
        ),
        "db_backup_add_schedule",
        SCHEDULE
        | {"db_name": "exasol", "backup_name": "full backup", "backup_volume_name": "r0001"}
        | {"enabled": "True", "minute": "0", "hour": "1", "weekday": "6"},
        {},
    ),
    (
        (
            "-c db_restore -a '{backup_id: 1 exa_db/id_1/level_0/node_0/backup_201811131114 exa_db, "
            "db_name: exasol, restore_type: blocking}'"
        ),
        "db_restore",
        {
            "backup_id": "1 exa_db/id_1/level_0/node_0/backup_201811131114 exa_db",
            "db_name": "exasol",
            "restore_type": "blocking",
        },
        {},
    ),
    ("-c st_volume_delete -a '{vid: 0}'", "st_volume_delete", {"vid": "0"}, {}),
    (
        (
            "db_backup_add_schedule db_name: PROD backup_name: SundayFullBackup backup_volume_name: arc_vol "
            "enabled: true level: 0 expire: '1w 3d' hour: 0 day: '*' month: '*' weekday: 0"
        ),
        "db_backup_add_schedule",
        SCHEDULE
        | {"db_name": "PROD", "backup_name": "SundayFullBackup", "backup_volume_name": "arc_vol"}
        | {"hour": "0", "weekday": "0"},
        {},
    ),
    (
        'db_backup_modify_schedule db_name: PROD_DR backup_name: "Backup PROD_DR Level 0" enabled: true',
        "db_backup_modify_schedule",
        {"db_name": "PROD_DR", "backup_name": "Backup PROD_DR Level 0", "enabled": "true"},
        {},
    ),
    (
        "db_configure db_name: PROD params_add: '[-oidcProviderClientSecret=abcd]'",
        "db_configure",
        {"db_name": "PROD", "params_add": ["-oidcProviderClientSecret=abcd"]},
        {},
    ),
    (
        "db_configure db_name: exa params_add: '[-forceProtocolEncryption=1, -x=abcd]'",
        "db_configure",
        {"db_name": "exa", "params_add": ["-forceProtocolEncryption=1", "-x=abcd"]},
        {},
    ),
    ("node_suspend nid: '[11, 12, 13]'", "node_suspend", {"nid": ["11", "12", "13"]}, {}),
    (
        "bucketfs_add bucketfs_name: b https_port: 2582 http_port: 0 owner: [500,500]",
        "bucketfs_add",
        {"bucketfs_name": "b", "https_port": "2582", "http_port": "0", "owner": ["500", "500"]},
        {},
    ),
    (
        "db_start db_name: MY_DATABASE cluster: +all",
        "db_start",
        {"db_name": "MY_DATABASE", "cluster": "+all"},
        {},
    ),
    (
        "general_settings changes: '{Global: {NameServers: 4.4.4.4, XMLRPCPort: 20003}}'",
        "general_settings",
        {"changes": {"Global": {"NameServers": "4.4.4.4", "XMLRPCPort": "20003"}}},
        {},
    ),
    (
        "settings_list sections: '{Global: [NameServers, XMLRPCPort]}'",
        "settings_list",
        {"sections": {"Global": ["NameServers", "XMLRPCPort"]}},
        {},
    ),
    ("db_stop db_name: DB1 timeout: 660", "db_stop", {"db_name": "DB1", "timeout": "660"}, {}),
    (r'db_info db_name: "\"DB1\"" --json', "db_info", {"db_name": "DB1"}, {"json": True}),
    (
        (
            'remote_volume_add vol_type: s3 url: "https://b.s3.amazonaws.com" owner: "[500,500]" '
            'remote_volume_name: "V 1"'
        ),
        "remote_volume_add",
        {
            "vol_type": "s3",
            "url": "https://b.s3.amazonaws.com",
            "owner": ["500", "500"],
            "remote_volume_name": "V 1",
        },
        {},
    ),
    ("st_volume_info vname: Data_vol --json", "st_volume_info", {"vname": "Data_vol"}, {"json": True}),
    ("user_info {username: root}", "user_info", {"username": "root"}, {}),
    (r'license_upload license: "\"{< -}\""', "license_upload", {"license": 'a "line"\nC:\\n\n'}, {}),
    (r"""license_upload license: '\""{< -}\""'""", "license_upload", {"license": 'a "line"\nC:\\n\n'}, {}),
    (
        """cert_update cert: '"{< ./cert_chain.pem}"' key: '"{< ./key.pem}"' ca: '"{< /root/tls_ca}"'""",
        "cert_update",
        {"cert": "-----BEGIN CERTIFICATE-----\r\nMIIB\r\n", "key": "key: [x\n", "ca": "ca\n"},
        {},
    ),
    (
        """db_configure_kerberos db_name: mydb keytab: '"{< file.keytab}"' host: h realm: R service: s""",
        "db_configure_kerberos",
        {"db_name": "mydb", "keytab": b"\x05\x02\xff\x00", "host": "h", "realm": "R", "service": "s"},
        {},
    ),
    (f"license_upload license: {shlex.quote(LICENCE)}", "license_upload", {"license": LICENCE}, {}),
]
