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

{{/* "true" for the service of a cluster. */}}
{{- define "sla-planner.isService" -}}
{{- if eq .Values.mode "cluster" -}}true{{- end -}}
{{- end -}}

{{/* "true" for the service of a cluster that serves every namespace. */}}
{{- define "sla-planner.isEverywhere" -}}
{{- if and (include "sla-planner.isService" .) (not .Values.config.cluster.namespaces) -}}true{{- end -}}
{{- end -}}

{{/* "true" where it keeps adapters. */}}
{{- define "sla-planner.keepsAdapters" -}}
{{- if and (ne (default "act" .Values.config.mode) "advise") .Values.config.adapter_controller -}}true{{- end -}}
{{- end -}}

{{/* Where the Leases of the service of a cluster are. */}}
{{- define "sla-planner.leaseNamespace" -}}
{{- default .Release.Namespace .Values.config.cluster.lease_namespace -}}
{{- end -}}

{{/* What the service of a cluster calls in the namespace of its Leases, and nothing else. */}}
{{- define "sla-planner.ownRules" -}}
{{- $leases := list "sla-planner" -}}
{{- if and (include "sla-planner.isEverywhere" .) (include "sla-planner.keepsAdapters" .) -}}
{{- $leases = append $leases "sla-planner-adapters" -}}
{{- end -}}
# Of several processes one plans, the one that holds the Lease `sla-planner`, and where every namespace is
# served one keeps the adapters. A name cannot be asked for in the making of an object.
- apiGroups: ["coordination.k8s.io"]
  resources: ["leases"]
  verbs: ["create"]
- apiGroups: ["coordination.k8s.io"]
  resources: ["leases"]
  resourceNames: {{ toJson $leases }}
  verbs: ["get", "patch"]
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
{{- if or (include "sla-planner.isService" .) (include "sla-planner.keepsAdapters" .) }}
# Service of a cluster: finds the graphs that ask to be planned for. Adapter controller: watches what
# they ask for.
- apiGroups: ["nvidia.com"]
  resources: ["dynamographdeployments"]
  verbs: ["list", "watch"]
{{- end }}
{{- if include "sla-planner.keepsAdapters" . }}
# Adapter controller: makes, mends and deletes adapters.
- apiGroups: ["nvidia.com"]
  resources: ["dynamographdeploymentscalingadapters"]
  verbs: ["list", "watch", "create", "patch", "delete"]
{{- end }}
{{- if include "sla-planner.isEverywhere" . }}
# Service of a cluster: sees where an operator of NVIDIA lives that is restricted to its namespace, and
# leaves that one alone.
- apiGroups: ["coordination.k8s.io"]
  resources: ["leases"]
  verbs: ["list"]
{{- else if include "sla-planner.keepsAdapters" . }}
# Adapter controller: of several processes one keeps the adapters, the one that holds this Lease.
# A name cannot be asked for in the making of an object.
- apiGroups: ["coordination.k8s.io"]
  resources: ["leases"]
  verbs: ["create"]
- apiGroups: ["coordination.k8s.io"]
  resources: ["leases"]
  resourceNames: ["sla-planner-adapters"]
  verbs: ["get", "patch"]
{{- end }}
{{- if include "sla-planner.keepsAdapters" . }}
# Adapter controller, where OwnerReferencesPermissionEnforcement is on: adapters block the deletion
# of the graph that owns them.
- apiGroups: ["nvidia.com"]
  resources: ["dynamographdeployments/finalizers"]
  verbs: ["update"]
{{- end }}
{{- end -}}

{{/* The webhooks: their own objects, which the planner's selector does not find. */}}
{{- define "sla-planner.webhook.name" -}}
{{- printf "%s-webhook" (include "sla-planner.name" . | trunc 50 | trimSuffix "-") -}}
{{- end -}}

{{- define "sla-planner.webhook.account" -}}
{{- default (include "sla-planner.webhook.name" .) .Values.webhook.serviceAccount.name -}}
{{- end -}}

{{/* Registrations and a ClusterRole have no namespace: two releases of one name must not share them. */}}
{{- define "sla-planner.webhook.registration" -}}
{{- printf "%s-%s" .Release.Namespace (include "sla-planner.webhook.name" .) -}}
{{- end -}}

{{- define "sla-planner.webhook.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-webhook
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: webhook
{{- end -}}

{{- define "sla-planner.webhook.labels" -}}
{{ include "sla-planner.webhook.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "sla-planner.webhook.port" -}}
{{- default 9443 .Values.webhook.config.port | int -}}
{{- end -}}

{{/* The configuration: what the values say, the planner of this release among those who pass the
guard, and the names that the chart gives to things. */}}
{{- define "sla-planner.webhook.config" -}}
{{- $config := deepCopy .Values.webhook.config -}}
{{- $planner := printf "system:serviceaccount:%s:%s" .Release.Namespace (include "sla-planner.account" .) -}}
{{- $_ := set $config "allowed_users" (concat (list $planner) (default list $config.allowed_users) | uniq) -}}
{{- $certificate := default dict $config.certificate -}}
{{- if not $certificate.folder -}}
{{- $name := include "sla-planner.webhook.name" . -}}
{{- $own := dict "secret" (printf "%s-cert" $name) "service" $name "registration" (include "sla-planner.webhook.registration" .) -}}
{{- $_ := set $config "certificate" (merge $own $certificate) -}}
{{- end -}}
{{- toYaml (dict "webhook" $config) -}}
{{- end -}}

{{/* Whose graphs are judged. An administrator lets a namespace out by a label. */}}
{{- define "sla-planner.webhook.namespaces" -}}
matchExpressions:
  - key: sla-planner/webhooks
    operator: NotIn
    values: ["ignored"]
  {{- with .Values.webhook.namespaces }}
  - key: kubernetes.io/metadata.name
    operator: In
    values: {{- toYaml . | nindent 6 }}
  {{- end }}
{{- end -}}
