"""Sections that exist once: Global, SSL, Docker, EXAStorage, Logging, Monitoring; and plugins."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from confd.exaconf import values
from confd.exaconf.codecs import PERCENT, PORT, within
from confd.exaconf.fields import Key, Name
from confd.exaconf.section import Form, Section
from confd.model.secret import Secret

#: The version of the configuration format that this software reads and writes.
CONF_VERSION: Final = "8.60.11"


class Global(Section, frozen=True):
    """Settings of the cluster as a whole; Revision and Checksum belong to the file and are not here."""

    kind: ClassVar[str] = "Global"

    cluster_name: Annotated[str, Key("ClusterName")] = ""
    platform: Annotated[str, Key("Platform")] = "Docker"
    license_file: Annotated[str, Key("LicenseFile")] = "/exa/etc/license.exasol_license"
    cored_port: Annotated[int, Key("CoredPort", PORT, check=values.check_port)] = 3250
    ssh_port: Annotated[int, Key("SSHPort", PORT, check=values.check_port)] = 22
    issue_tracker: Annotated[str, Key("IssueTracker", check=values.check_tracker)] = "Jira"
    xmlrpc_port: Annotated[int, Key("XMLRPCPort", PORT, check=values.check_port)] = 443
    rest_api_port: Annotated[int, Key("RESTAPIPort", PORT)] = 8000
    rest_api_enabled: Annotated[bool, Key("RESTAPIEnabled")] = True
    rest_api_path_prefix: Annotated[str, Key("RESTAPIPathPrefix")] = "/api/v1"
    rest_api_auth_pub_key: Annotated[str, Key("RESTAPIAuthPubKey")] = ""
    web_ui_backend_port: Annotated[int, Key("WebUIBackendPort", PORT, check=values.check_port)] = 4444
    web_ui_domain: Annotated[str, Key("WebUIDomain")] = "exacluster.local"
    web_ui_backend_binary: Annotated[str, Key("WebUIBackendBinary", optional=True)] = "db-restapi"
    enable_load_balancer: Annotated[bool, Key("EnableLoadBalancer")] = False
    authentication_token: Annotated[Secret | None, Key("AuthenticationToken", optional=True)] = None
    networks: Annotated[tuple[str, ...], Key("Networks", check=values.check_networks)] = ("private",)
    name_servers: Annotated[tuple[str, ...], Key("NameServers", check=values.check_addresses)] = ("8.8.8.8",)
    search_domains: Annotated[tuple[str, ...], Key("SearchDomains")] = ()
    c4_socket: Annotated[str, Key("C4Socket")] = "/var/run/c4_socket"
    timezone: Annotated[str, Key("Timezone", check=values.check_zone)] = "Europe/Berlin"
    legacy_platform_manager: Annotated[bool, Key("LegacyPlatformManager")] = True
    license_raw_mem_warn_threshold: Annotated[int, Key("LicenseRAWMEMWarnThreshold", PERCENT)] = 80
    hugepages: Annotated[str, Key("Hugepages", check=values.check_hugepages)] = "0"
    storage_connection_threads: Annotated[int, Key("StorageConnectionThreads", within(1))] = 16
    storage_max_connections: Annotated[int, Key("StorageMaxConnections", within(1))] = 1024
    storage_connect_timeout: Annotated[int, Key("StorageConnectTimeout", within(0), optional=True)] = 20000
    storage_request_timeout: Annotated[int, Key("StorageRequestTimeout", within(0), optional=True)] = 20000
    storage_proxy_url: Annotated[str | None, Key("StorageProxyURL", optional=True)] = None
    meta_package: Annotated[str, Key("MetaPackage")] = "none"
    conf_version: Annotated[str, Key("ConfVersion")] = CONF_VERSION
    os_version: Annotated[str, Key("OSVersion")] = CONF_VERSION
    db_version: Annotated[str, Key("DBVersion")] = ""
    image_version: Annotated[str, Key("ImageVersion", aliases=("REVersion",))] = ""
    cored_use_privileged_ports: Annotated[bool, Key("CoredUsePrivilegedPorts")] = True
    cored_allow_only_same_subnet: Annotated[bool, Key("CoredAllowOnlySameSubnet")] = True
    cored_subnets: Annotated[tuple[str, ...], Key("CoredSubnets")] = ()
    cored_canary_file_dirs: Annotated[tuple[str, ...], Key("CoredCanaryFileDirs", optional=True)] = ()
    cored_canary_timeout: Annotated[int, Key("CoredCanaryTimeout", within(0), optional=True)] = 90
    cored_canary_grace_period: Annotated[int, Key("CoredCanaryGracePeriod", within(0), optional=True)] = 300
    cored_canary_logging_enabled: Annotated[bool, Key("CoredCanaryLoggingEnabled", optional=True)] = True
    slc: Annotated[tuple[str, ...], Key("SLC", optional=True)] = ("/opt/exasol/slc-*/ScriptLanguages*",)
    builtin_script_language_name: Annotated[str, Key("BuiltinScriptLanguageName", optional=True)] = ""
    builtin_script_language_names: Annotated[tuple[str, ...], Key("BuiltinScriptLanguageNames", optional=True)] = ()
    resolv_filename: Annotated[str, Key("ResolvFilename", optional=True)] = "/etc/resolv.conf"
    hosts_filename: Annotated[str, Key("HostsFilename", optional=True)] = "/etc/hosts"
    rsyslog_filename: Annotated[str, Key("RSyslogFilename", optional=True)] = "/exa/etc/rsyslog.conf"
    exa_monitor_user_name: Annotated[str, Key("ExaMonitorUserName", optional=True)] = ""
    exa_monitor_user_password: Annotated[Secret, Key("ExaMonitorUserPassword", optional=True)] = Secret("")


class CertVerify(StrEnum):
    """Whether the server asks clients for a certificate."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


class Ssl(Section, frozen=True):
    """The certificate that all services share."""

    kind: ClassVar[str] = "SSL"

    cert: Annotated[str, Key("Cert", check=values.check_file)] = "/exa/etc/ssl/ssl.crt"
    cert_key: Annotated[str, Key("CertKey", check=values.check_file)] = "/exa/etc/ssl/ssl.key"
    cert_auth: Annotated[str, Key("CertAuth", check=values.check_file)] = "/exa/etc/ssl/ssl.ca"
    cert_verify: Annotated[CertVerify, Key("CertVerify")] = CertVerify.NONE
    cert_domain_name: Annotated[str, Key("CertDomainName")] = ""


class DeviceType(StrEnum):
    """What stands behind the storage devices of container nodes."""

    FILE = "file"
    BLOCK = "block"


class Docker(Section, frozen=True):
    """How container nodes are started."""

    kind: ClassVar[str] = "Docker"

    root_dir: Annotated[str, Key("RootDir")] = "/exa/etc"
    image: Annotated[str, Key("Image")] = "exasol/docker-db:latest"
    device_type: Annotated[DeviceType, Key("DeviceType")] = DeviceType.FILE
    additional_volumes: Annotated[tuple[str, ...], Key("AdditionalVolumes")] = ()
    default_volumes: Annotated[tuple[str, ...], Key("DefaultVolumes", optional=True)] = ()
    privileged: Annotated[bool, Key("Privileged", optional=True)] = True
    cap_add: Annotated[tuple[str, ...], Key("CapAdd", optional=True)] = ()
    cap_drop: Annotated[tuple[str, ...], Key("CapDrop", optional=True)] = ()
    network_mode: Annotated[str, Key("NetworkMode", optional=True)] = "bridge"
    ipc_mode: Annotated[str, Key("IpcMode", optional=True)] = "private"


class ExaStorage(Section, frozen=True):
    """Settings of the storage service; no recovery limit means automatic."""

    kind: ClassVar[str] = "EXAStorage"

    bg_rec_enabled: Annotated[bool, Key("BgRecEnabled")] = True
    bg_rec_limit: Annotated[int | None, Key("BgRecLimit", within(1))] = None
    space_warn_threshold: Annotated[int, Key("SpaceWarnThreshold", PERCENT)] = 90


class Logging(Section, frozen=True):
    """Where rotated logs go."""

    kind: ClassVar[str] = "Logging"

    log_rotation_types: Annotated[tuple[str, ...], Key("LogRotationTypes", check=values.check_rotation)] = ("local",)
    remote_log_rotation_volume: Annotated[str | None, Key("RemoteLogRotationVolume", none="None")] = None
    remote_log_rotation_prefix: Annotated[str | None, Key("RemoteLogRotationPrefix", none="None")] = None


class Monitoring(Section, frozen=True):
    """Where monitoring data is sent; the section exists while monitoring is on."""

    kind: ClassVar[str] = "Monitoring"

    broker: Annotated[str, Key("Broker", optional=True)] = ""
    cluster_id: Annotated[str, Key("ClusterId", optional=True)] = ""
    sasl_user: Annotated[str, Key("SaslUser", optional=True)] = ""
    sasl_password: Annotated[Secret, Key("SaslPassword", optional=True)] = Secret("")


class Plugin(Section, frozen=True):
    """A plugin whose package lies in a bucket."""

    kind: ClassVar[str] = "Plugin"
    form: ClassVar[Form] = Form.NAMED

    name: Annotated[str, Name()]
    bucketfs: Annotated[str, Key("BucketFS")] = "bfsdefault"
    bucket: Annotated[str, Key("Bucket")] = "default"
    dir: Annotated[str, Key("Dir")] = "plugins"
