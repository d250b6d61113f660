{{- define "churn-operator.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- $name | trunc 50 | trimSuffix "-" -}}{{/* 63, less what the names of hooks append */}}
{{- end }}

{{- define "churn-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "churn-operator.labels" -}}
{{ include "churn-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "churn-operator.image" -}}
{{- $suffix := printf ":%s" (default .Chart.AppVersion .image.tag) -}}
{{- with .image.digest }}{{ $suffix = printf "@%s" . }}{{ end -}}
{{ .image.repository }}{{ $suffix }}
{{- end }}

{{- define "churn-operator.hook" -}}
helm.sh/hook: {{ . }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* What every pod of the chart has; with containerSecurity it satisfies Pod Security `restricted`. */}}
{{- define "churn-operator.pod" -}}
enableServiceLinks: false  # a Service called churn-operator-… would look like settings of the operator
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- range $field := list "imagePullSecrets" "nodeSelector" "tolerations" }}
{{- with index $.Values $field }}
{{ $field }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "churn-operator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
