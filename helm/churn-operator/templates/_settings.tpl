{{/*
Refuses settings that contradict each other before anything is installed: the operator would refuse to start.
The defaults are the operator's own.
*/}}
{{- define "churn-operator.checkedSettings" -}}
{{- $settings := mergeOverwrite (dict "gracePeriodSeconds" 30 "preStopSeconds" 3 "minReadySeconds" 3 "progressDeadlineSeconds" 600) .Values.settings -}}
{{- $least := add $settings.preStopSeconds 7 -}}
{{- if lt (int64 $settings.gracePeriodSeconds) $least -}}
{{- fail (printf "settings.gracePeriodSeconds %v ends before a replica has drained: with settings.preStopSeconds %v set it to at least %v" $settings.gracePeriodSeconds $settings.preStopSeconds $least) -}}
{{- end -}}
{{- if ge (int64 $settings.minReadySeconds) (int64 $settings.progressDeadlineSeconds) -}}
{{- fail (printf "settings.minReadySeconds %v must be below settings.progressDeadlineSeconds %v: no rollout would end in time" $settings.minReadySeconds $settings.progressDeadlineSeconds) -}}
{{- end -}}
{{- end -}}
