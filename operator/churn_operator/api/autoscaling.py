"""`spec.autoscaling`: how many replicas, by what. Metrics and behavior are those of autoscaling/v2."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from churn_operator.api.schema import LABEL_VALUE, ApiModel, Quantity, rules

MetricName = Annotated[str, Field(min_length=1, max_length=253)]
LabelText = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE)]


class LabelRequirement(ApiModel):
    key: Annotated[str, Field(min_length=1, max_length=317)]
    """Label key that the requirement is about."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label's value is compared with `values`."""
    values: Annotated[list[LabelText], Field(max_length=32)] | None = None
    """Values to compare with; none for Exists and DoesNotExist."""


class LabelSelector(ApiModel):
    match_labels: Annotated[dict[str, LabelText], Field(max_length=16)] | None = None
    """Labels that must be there with exactly these values."""
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=16)] | None = None
    """Requirements that must all hold."""


class MetricIdentifier(ApiModel):
    name: MetricName
    """Name of the metric."""
    selector: LabelSelector | None = None
    """Narrows the metric to series with these labels."""


class MetricTarget(ApiModel):
    type: Literal["Utilization", "AverageValue", "Value"]
    """Which of the fields beside it holds the target."""
    average_utilization: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Wanted mean over the pods, in percent of what they request. Resource metrics only."""
    average_value: Quantity | None = None
    """Wanted mean over the pods, as a quantity."""
    value: Quantity | None = None
    """Wanted value of the whole metric, as a quantity."""


class ResourceMetric(ApiModel):
    name: MetricName
    """Resource: cpu or memory."""
    target: MetricTarget
    """Value to hold."""


class ContainerResourceMetric(ApiModel):
    name: MetricName
    """Resource: cpu or memory."""
    container: MetricName
    """Container of the pods; the one that serves is called server."""
    target: MetricTarget
    """Value to hold."""


class PodsMetric(ApiModel):
    metric: MetricIdentifier
    """Metric that each pod has; the mean over the pods counts."""
    target: MetricTarget
    """Value to hold."""


class ObjectReference(ApiModel):
    api_version: Annotated[str, Field(max_length=253)] | None = None
    """API version of the object, such as networking.k8s.io/v1."""
    kind: Annotated[str, Field(min_length=1, max_length=63)]
    """Kind of the object, such as Ingress."""
    name: MetricName
    """Name of the object, in the ChurnModel's namespace."""


class ObjectMetric(ApiModel):
    described_object: ObjectReference
    """Object that the metric describes."""
    metric: MetricIdentifier
    """Metric of that object."""
    target: MetricTarget
    """Value to hold."""


class ExternalMetric(ApiModel):
    metric: MetricIdentifier
    """Metric of a system outside the cluster, such as a queue's length."""
    target: MetricTarget
    """Value to hold."""


class Metric(ApiModel):
    """One metric of autoscaling/v2: `type` names the field that is set beside it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                (
                    "self.type == 'Resource' ? has(self.resource) : "
                    "self.type == 'ContainerResource' ? has(self.containerResource) : "
                    "self.type == 'Pods' ? has(self.pods) : "
                    "self.type == 'Object' ? has(self.object) : has(self.external)"
                ),
                "set the field that type names: resource, containerResource, pods, object or external",
            )
        )
    )

    type: Literal["Resource", "ContainerResource", "Pods", "Object", "External"]
    """Kind of metric; the field of that name holds it."""
    resource: ResourceMetric | None = None
    """CPU or memory of the whole pods."""
    container_resource: ContainerResourceMetric | None = None
    """CPU or memory of one container of the pods."""
    pods: PodsMetric | None = None
    """A custom metric of each pod."""
    object: ObjectMetric | None = None
    """A custom metric of another object."""
    external: ExternalMetric | None = None
    """A metric from outside the cluster."""

    @model_validator(mode="after")
    def _named_field_is_set(self) -> Self:
        field = "container_resource" if self.type == "ContainerResource" else self.type.lower()
        if getattr(self, field) is None:
            raise ValueError(f"type is {self.type}: set the field of that name")
        return self


class ScalingPolicy(ApiModel):
    type: Literal["Pods", "Percent"]
    """Whether `value` counts pods or percent of the present pods."""
    value: Annotated[int, Field(ge=1, le=100_000)]
    """Largest change within one period."""
    period_seconds: Annotated[int, Field(ge=1, le=1800)]
    """Length of the period in seconds."""


class ScalingRules(ApiModel):
    policies: Annotated[list[ScalingPolicy], Field(min_length=1, max_length=8)] | None = None
    """Limits on how fast the number of replicas changes."""
    select_policy: Literal["Max", "Min", "Disabled"] | None = None
    """Which policy wins: the one that allows the most or the least; Disabled forbids this direction."""
    stabilization_window_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None
    """How many seconds of past recommendations are considered before the number changes."""
    tolerance: Quantity | None = None
    """Relative distance from the target that is left alone, such as "0.1"."""


class Behavior(ApiModel):
    scale_up: ScalingRules | None = None
    """Rules for adding replicas."""
    scale_down: ScalingRules | None = None
    """Rules for removing replicas."""


class Autoscaling(ApiModel):
    """Replicas follow the load; a HorizontalPodAutoscaler then owns their number."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(has(self.minReplicas) ? self.minReplicas : 2) <= self.maxReplicas",
                "minReplicas (2 if unset) is above maxReplicas: raise maxReplicas or lower minReplicas",
            ),
            (
                "has(self.targetCPUUtilizationPercentage) != has(self.metrics)",
                "set exactly one of targetCPUUtilizationPercentage and metrics",
            ),
        )
    )

    min_replicas: Annotated[int, Field(ge=1, le=1000)] = 2
    """Least number of replicas, and how many must be available for the ChurnModel to be Ready."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)]
    """Greatest number of replicas."""
    target_cpu: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, alias="targetCPUUtilizationPercentage"
    )
    """Mean CPU use to hold, in percent of the CPU that the pods request."""
    metrics: Annotated[list[Metric], Field(min_length=1, max_length=8)] | None = None
    """Metrics to scale by, as in autoscaling/v2, in place of targetCPUUtilizationPercentage."""
    behavior: Behavior | None = None
    """How fast to scale up and down, as in autoscaling/v2."""

    @model_validator(mode="after")
    def _bounds_and_one_target(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"minReplicas {self.min_replicas} is above maxReplicas {self.max_replicas}")
        if (self.target_cpu is None) == (self.metrics is None):
            raise ValueError("set exactly one of targetCPUUtilizationPercentage and metrics")
        return self
