from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor
LIMIT_FIELD_NUMBER: _ClassVar[int]
limit: _descriptor.FieldDescriptor
SIZE_FIELD_NUMBER: _ClassVar[int]
size: _descriptor.FieldDescriptor

class Limit(_message.Message):
    __slots__ = ("length", "count", "key", "least", "most")
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    LEAST_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    length: int
    count: int
    key: int
    least: float
    most: float
    def __init__(self, length: _Optional[int] = ..., count: _Optional[int] = ..., key: _Optional[int] = ..., least: _Optional[float] = ..., most: _Optional[float] = ...) -> None: ...

class Empty(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Signature(_message.Message):
    __slots__ = ("certificate", "signature")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    signature: bytes
    def __init__(self, certificate: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Challenge(_message.Message):
    __slots__ = ("nonce",)
    NONCE_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    def __init__(self, nonce: _Optional[bytes] = ...) -> None: ...

class Introduction(_message.Message):
    __slots__ = ("signature",)
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    signature: Signature
    def __init__(self, signature: _Optional[_Union[Signature, _Mapping]] = ...) -> None: ...

class Blob(_message.Message):
    __slots__ = ("sha256", "size")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    size: int
    def __init__(self, sha256: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class Announcement(_message.Message):
    __slots__ = ("version", "code_hash", "dataset", "classes", "samples", "fingerprint", "devices", "experiments", "code_hashes", "shard_package", "protocol", "kept", "process", "policy")
    class SamplesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class CodeHashesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CODE_HASH_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENTS_FIELD_NUMBER: _ClassVar[int]
    CODE_HASHES_FIELD_NUMBER: _ClassVar[int]
    SHARD_PACKAGE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    version: str
    code_hash: str
    dataset: str
    classes: _containers.RepeatedScalarFieldContainer[str]
    samples: _containers.ScalarMap[str, int]
    fingerprint: str
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    experiments: _containers.RepeatedScalarFieldContainer[str]
    code_hashes: _containers.ScalarMap[str, str]
    shard_package: Package
    protocol: int
    kept: _containers.RepeatedScalarFieldContainer[str]
    process: str
    policy: SitePolicy
    def __init__(self, version: _Optional[str] = ..., code_hash: _Optional[str] = ..., dataset: _Optional[str] = ..., classes: _Optional[_Iterable[str]] = ..., samples: _Optional[_Mapping[str, int]] = ..., fingerprint: _Optional[str] = ..., devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., experiments: _Optional[_Iterable[str]] = ..., code_hashes: _Optional[_Mapping[str, str]] = ..., shard_package: _Optional[_Union[Package, _Mapping]] = ..., protocol: _Optional[int] = ..., kept: _Optional[_Iterable[str]] = ..., process: _Optional[str] = ..., policy: _Optional[_Union[SitePolicy, _Mapping]] = ...) -> None: ...

class SitePolicy(_message.Message):
    __slots__ = ("limits_checkpoints", "checkpoints", "bounds", "limits_workspaces", "workspaces", "unsigned")
    class BoundsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    LIMITS_CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_WORKSPACES_FIELD_NUMBER: _ClassVar[int]
    WORKSPACES_FIELD_NUMBER: _ClassVar[int]
    UNSIGNED_FIELD_NUMBER: _ClassVar[int]
    limits_checkpoints: bool
    checkpoints: _containers.RepeatedScalarFieldContainer[str]
    bounds: _containers.ScalarMap[str, float]
    limits_workspaces: bool
    workspaces: _containers.RepeatedScalarFieldContainer[str]
    unsigned: bool
    def __init__(self, limits_checkpoints: bool = ..., checkpoints: _Optional[_Iterable[str]] = ..., bounds: _Optional[_Mapping[str, float]] = ..., limits_workspaces: bool = ..., workspaces: _Optional[_Iterable[str]] = ..., unsigned: bool = ...) -> None: ...

class Package(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("name", "model", "memory")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    memory: int
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., memory: _Optional[int] = ...) -> None: ...

class Order(_message.Message):
    __slots__ = ("start", "stop", "connected", "forget", "revoked")
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    FORGET_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    start: Start
    stop: str
    connected: Empty
    forget: str
    revoked: Revocation
    def __init__(self, start: _Optional[_Union[Start, _Mapping]] = ..., stop: _Optional[str] = ..., connected: _Optional[_Union[Empty, _Mapping]] = ..., forget: _Optional[str] = ..., revoked: _Optional[_Union[Revocation, _Mapping]] = ...) -> None: ...

class Start(_message.Message):
    __slots__ = ("experiment", "plan", "frozen_fingerprint", "code_hash", "submitted", "amendments", "frozen")
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    CODE_HASH_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    AMENDMENTS_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    experiment: str
    plan: str
    frozen_fingerprint: str
    code_hash: str
    submitted: Submission
    amendments: _containers.RepeatedCompositeFieldContainer[Amendment]
    frozen: Blob
    def __init__(self, experiment: _Optional[str] = ..., plan: _Optional[str] = ..., frozen_fingerprint: _Optional[str] = ..., code_hash: _Optional[str] = ..., submitted: _Optional[_Union[Submission, _Mapping]] = ..., amendments: _Optional[_Iterable[_Union[Amendment, _Mapping]]] = ..., frozen: _Optional[_Union[Blob, _Mapping]] = ...) -> None: ...

class Amendment(_message.Message):
    __slots__ = ("settings", "number", "signature")
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    settings: _containers.ScalarMap[str, str]
    number: int
    signature: Signature
    def __init__(self, settings: _Optional[_Mapping[str, str]] = ..., number: _Optional[int] = ..., signature: _Optional[_Union[Signature, _Mapping]] = ...) -> None: ...

class TasksRequest(_message.Message):
    __slots__ = ("wait",)
    WAIT_FIELD_NUMBER: _ClassVar[int]
    wait: float
    def __init__(self, wait: _Optional[float] = ...) -> None: ...

class Tasks(_message.Message):
    __slots__ = ("tasks", "round", "quit", "counted")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    QUIT_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedScalarFieldContainer[str]
    round: int
    quit: bool
    counted: int
    def __init__(self, tasks: _Optional[_Iterable[str]] = ..., round: _Optional[int] = ..., quit: bool = ..., counted: _Optional[int] = ...) -> None: ...

class ModelRequest(_message.Message):
    __slots__ = ("round", "kept")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    round: int
    kept: str
    def __init__(self, round: _Optional[int] = ..., kept: _Optional[str] = ...) -> None: ...

class ModelChunk(_message.Message):
    __slots__ = ("info", "data")
    INFO_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    info: ModelInfo
    data: bytes
    def __init__(self, info: _Optional[_Union[ModelInfo, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("blob", "round", "plan", "frozen_fingerprint", "frozen")
    BLOB_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    blob: Blob
    round: int
    plan: str
    frozen_fingerprint: str
    frozen: Blob
    def __init__(self, blob: _Optional[_Union[Blob, _Mapping]] = ..., round: _Optional[int] = ..., plan: _Optional[str] = ..., frozen_fingerprint: _Optional[str] = ..., frozen: _Optional[_Union[Blob, _Mapping]] = ...) -> None: ...

class ResultChunk(_message.Message):
    __slots__ = ("info", "data")
    INFO_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    info: ResultInfo
    data: bytes
    def __init__(self, info: _Optional[_Union[ResultInfo, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class ResultInfo(_message.Message):
    __slots__ = ("round", "task", "data_size", "statistics", "blob", "offset")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    DATA_SIZE_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    round: int
    task: str
    data_size: int
    statistics: bytes
    blob: Blob
    offset: int
    def __init__(self, round: _Optional[int] = ..., task: _Optional[str] = ..., data_size: _Optional[int] = ..., statistics: _Optional[bytes] = ..., blob: _Optional[_Union[Blob, _Mapping]] = ..., offset: _Optional[int] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("have",)
    HAVE_FIELD_NUMBER: _ClassVar[int]
    have: int
    def __init__(self, have: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("counted", "reason", "again")
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AGAIN_FIELD_NUMBER: _ClassVar[int]
    counted: bool
    reason: str
    again: bool
    def __init__(self, counted: bool = ..., reason: _Optional[str] = ..., again: bool = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("reason", "traceback", "passing", "kind")
    REASON_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    PASSING_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    reason: str
    traceback: str
    passing: bool
    kind: str
    def __init__(self, reason: _Optional[str] = ..., traceback: _Optional[str] = ..., passing: bool = ..., kind: _Optional[str] = ...) -> None: ...

class Envoy(_message.Message):
    __slots__ = ("name", "announcement", "since", "experiments", "certificate_ends")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCEMENT_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENTS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_ENDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    announcement: Announcement
    since: float
    experiments: _containers.RepeatedScalarFieldContainer[str]
    certificate_ends: float
    def __init__(self, name: _Optional[str] = ..., announcement: _Optional[_Union[Announcement, _Mapping]] = ..., since: _Optional[float] = ..., experiments: _Optional[_Iterable[str]] = ..., certificate_ends: _Optional[float] = ...) -> None: ...

class Envoys(_message.Message):
    __slots__ = ("envoys",)
    ENVOYS_FIELD_NUMBER: _ClassVar[int]
    envoys: _containers.RepeatedCompositeFieldContainer[Envoy]
    def __init__(self, envoys: _Optional[_Iterable[_Union[Envoy, _Mapping]]] = ...) -> None: ...

class Experiment(_message.Message):
    __slots__ = ("name", "state", "reason", "round", "rounds", "created", "ended", "cohort", "submitted_by", "plan", "best_round", "best_score", "exchanged_sha256", "members", "plan_name", "best_metric")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    COHORT_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_BY_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    BEST_ROUND_FIELD_NUMBER: _ClassVar[int]
    BEST_SCORE_FIELD_NUMBER: _ClassVar[int]
    EXCHANGED_SHA256_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    PLAN_NAME_FIELD_NUMBER: _ClassVar[int]
    BEST_METRIC_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: str
    reason: str
    round: int
    rounds: int
    created: float
    ended: float
    cohort: _containers.RepeatedScalarFieldContainer[str]
    submitted_by: str
    plan: str
    best_round: int
    best_score: float
    exchanged_sha256: str
    members: _containers.RepeatedCompositeFieldContainer[Member]
    plan_name: str
    best_metric: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., round: _Optional[int] = ..., rounds: _Optional[int] = ..., created: _Optional[float] = ..., ended: _Optional[float] = ..., cohort: _Optional[_Iterable[str]] = ..., submitted_by: _Optional[str] = ..., plan: _Optional[str] = ..., best_round: _Optional[int] = ..., best_score: _Optional[float] = ..., exchanged_sha256: _Optional[str] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., plan_name: _Optional[str] = ..., best_metric: _Optional[str] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("name", "standing", "reason", "counted")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    name: str
    standing: str
    reason: str
    counted: int
    def __init__(self, name: _Optional[str] = ..., standing: _Optional[str] = ..., reason: _Optional[str] = ..., counted: _Optional[int] = ...) -> None: ...

class Experiments(_message.Message):
    __slots__ = ("experiments", "paused")
    EXPERIMENTS_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    experiments: _containers.RepeatedCompositeFieldContainer[Experiment]
    paused: str
    def __init__(self, experiments: _Optional[_Iterable[_Union[Experiment, _Mapping]]] = ..., paused: _Optional[str] = ...) -> None: ...

class SubmitChunk(_message.Message):
    __slots__ = ("submission", "data")
    SUBMISSION_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    submission: Submission
    data: bytes
    def __init__(self, submission: _Optional[_Union[Submission, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Submission(_message.Message):
    __slots__ = ("name", "id", "plan", "version", "code_hash", "frozen_fingerprint", "blob", "protocol", "director", "signature", "frozen", "plan_name")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CODE_HASH_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    DIRECTOR_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    PLAN_NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    id: str
    plan: str
    version: str
    code_hash: str
    frozen_fingerprint: str
    blob: Blob
    protocol: int
    director: str
    signature: Signature
    frozen: Blob
    plan_name: str
    def __init__(self, name: _Optional[str] = ..., id: _Optional[str] = ..., plan: _Optional[str] = ..., version: _Optional[str] = ..., code_hash: _Optional[str] = ..., frozen_fingerprint: _Optional[str] = ..., blob: _Optional[_Union[Blob, _Mapping]] = ..., protocol: _Optional[int] = ..., director: _Optional[str] = ..., signature: _Optional[_Union[Signature, _Mapping]] = ..., frozen: _Optional[_Union[Blob, _Mapping]] = ..., plan_name: _Optional[str] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("settings", "accept_code", "amendment")
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_CODE_FIELD_NUMBER: _ClassVar[int]
    AMENDMENT_FIELD_NUMBER: _ClassVar[int]
    settings: _containers.ScalarMap[str, str]
    accept_code: bool
    amendment: Amendment
    def __init__(self, settings: _Optional[_Mapping[str, str]] = ..., accept_code: bool = ..., amendment: _Optional[_Union[Amendment, _Mapping]] = ...) -> None: ...

class ExcludeRequest(_message.Message):
    __slots__ = ("envoy",)
    ENVOY_FIELD_NUMBER: _ClassVar[int]
    envoy: str
    def __init__(self, envoy: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("after", "follow")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    after: int
    follow: bool
    def __init__(self, after: _Optional[int] = ..., follow: bool = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("id", "time", "kind", "body")
    ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    id: int
    time: float
    kind: str
    body: str
    def __init__(self, id: _Optional[int] = ..., time: _Optional[float] = ..., kind: _Optional[str] = ..., body: _Optional[str] = ...) -> None: ...

class Revocation(_message.Message):
    __slots__ = ("name", "serial", "time", "reason", "by", "signature")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    name: str
    serial: str
    time: float
    reason: str
    by: str
    signature: Signature
    def __init__(self, name: _Optional[str] = ..., serial: _Optional[str] = ..., time: _Optional[float] = ..., reason: _Optional[str] = ..., by: _Optional[str] = ..., signature: _Optional[_Union[Signature, _Mapping]] = ...) -> None: ...

class Revocations(_message.Message):
    __slots__ = ("revocations",)
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    revocations: _containers.RepeatedCompositeFieldContainer[Revocation]
    def __init__(self, revocations: _Optional[_Iterable[_Union[Revocation, _Mapping]]] = ...) -> None: ...

class AuditRequest(_message.Message):
    __slots__ = ("since", "member", "what", "last")
    SINCE_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    since: float
    member: str
    what: str
    last: int
    def __init__(self, since: _Optional[float] = ..., member: _Optional[str] = ..., what: _Optional[str] = ..., last: _Optional[int] = ...) -> None: ...

class AuditEntry(_message.Message):
    __slots__ = ("time", "member", "role", "address", "what", "experiment", "outcome", "count")
    TIME_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    time: float
    member: str
    role: str
    address: str
    what: str
    experiment: str
    outcome: str
    count: int
    def __init__(self, time: _Optional[float] = ..., member: _Optional[str] = ..., role: _Optional[str] = ..., address: _Optional[str] = ..., what: _Optional[str] = ..., experiment: _Optional[str] = ..., outcome: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...
