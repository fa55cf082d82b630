{{/* Name of every object: the release's, with the chart's where it does not have it already. */}}
{{- define "sla-planner.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sla-planner.account" -}}
{{- default (include "sla-planner.name" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* A ClusterRole has no namespace: two releases of one name must not share it. */}}
{{- define "sla-planner.clusterRole" -}}
{{- printf "%s-%s" .Release.Namespace (include "sla-planner.name" .) -}}
{{- end -}}

{{- define "sla-planner.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sla-planner.labels" -}}
{{ include "sla-planner.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* Port of the metrics and probes; 0 where there are none. */}}
{{- define "sla-planner.port" -}}
{{- if hasKey .Values.config "metrics_port" -}}{{ int .Values.config.metrics_port }}{{- else -}}9085{{- end -}}
{{- end -}}

{{/* What the configuration makes the planner call, and nothing else. deploy/README.md says what is
lost without each. */}}
{{- define "sla-planner.rules" -}}
{{- $acts := ne (default "act" .Values.config.mode) "advise" -}}
# Reads its graph each tick, and again before a write.
- apiGroups: ["nvidia.com"]
  resources: ["dynamographdeployments"]
  verbs: ["get"]
{{- if $acts }}
# Writes the replicas of a service that has no scaling adapter.
- apiGroups: ["nvidia.com"]
  resources: ["dynamographdeployments"]
  verbs: ["patch"]
{{- end }}
# Reads how many replicas are asked for.
- apiGroups: ["nvidia.com"]
  resources: ["dynamographdeploymentscalingadapters"]
  verbs: ["get"]
{{- if $acts }}
# Reads the version before a write, so that nobody's change in between is overwritten.
- apiGroups: ["nvidia.com"]
  resources: ["dynamographdeploymentscalingadapters/scale"]
  verbs: ["get"]
# Scales.
- apiGroups: ["nvidia.com"]
  resources: ["dynamographdeploymentscalingadapters/scale"]
  verbs: ["patch"]
{{- end }}
# Counts the replicas that are ready, starting and draining.
- apiGroups: [""]
  resources: ["pods"]
  verbs: ["list"]
{{- if $acts }}
# Sees who else scales our adapters. Where KEDA is not installed, its rule does nothing.
- apiGroups: ["autoscaling"]
  resources: ["horizontalpodautoscalers"]
  verbs: ["list"]
- apiGroups: ["keda.sh"]
  resources: ["scaledobjects"]
  verbs: ["list"]
# Shows on the adapter that somebody else scales it too; the adapter controller: how many replicas
# and which pods there are.
- apiGroups: ["nvidia.com"]
  resources: ["dynamographdeploymentscalingadapters/status"]
  verbs: ["patch"]
- apiGroups: [""]
  resources: ["events"]
  verbs: ["create", "patch"]
{{- end }}
{{- if and $acts .Values.config.adapter_controller }}
# Adapter controller: watches the graphs of the namespace.
- apiGroups: ["nvidia.com"]
  resources: ["dynamographdeployments"]
  verbs: ["list", "watch"]
# Adapter controller: makes, mends and deletes adapters.
- apiGroups: ["nvidia.com"]
  resources: ["dynamographdeploymentscalingadapters"]
  verbs: ["list", "watch", "create", "patch", "delete"]
# Adapter controller, where OwnerReferencesPermissionEnforcement is on: adapters block the deletion
# of the graph that owns them.
- apiGroups: ["nvidia.com"]
  resources: ["dynamographdeployments/finalizers"]
  verbs: ["update"]
{{- end }}
{{- end -}}
