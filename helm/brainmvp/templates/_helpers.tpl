{{- define "brainmvp.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "brainmvp.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "brainmvp.labels" -}}
{{ include "brainmvp.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/*
Labels of the pods of a Job, which cannot be changed: those of a release of the chart would have an
upgrade refused. Call with (dict "root" $ "component" "export").
*/}}
{{- define "brainmvp.jobPodLabels" -}}
{{ include "brainmvp.selector" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/*
What tells a Job from others of its name. Call with (dict "labels" … "job" … "pod" …).
*/}}
{{- define "brainmvp.jobDigest" -}}
{{- print .labels .job .pod | sha256sum | trunc 8 -}}
{{- end -}}

{{- define "brainmvp.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "brainmvp.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/*
The image of a kind: cpu, gpu (gpu-torch where that engine is chosen) or export.
Call with (dict "root" $ "kind" "cpu" "tag" "").
*/}}
{{- define "brainmvp.image" -}}
{{- $image := .root.Values.image -}}
{{- $name := $image.repository -}}
{{- if $image.registry -}}{{- $name = printf "%s/%s" $image.registry $name -}}{{- end -}}
{{- $torch := and (eq .kind "gpu") (eq (.root.Values.settings.engine | default "") "torch") -}}
{{- $kind := ternary "gpu-torch" .kind $torch -}}
{{- if and $image.digest (ne .kind "export") -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (.tag | default (printf "%s-%s" .root.Chart.AppVersion $kind)) -}}
{{- end -}}
{{- end -}}

{{/* What every pod has. */}}
{{- define "brainmvp.podBase" -}}
serviceAccountName: {{ include "brainmvp.serviceAccount" . }}
automountServiceAccountToken: false
# A Service of ours would set variables that look like settings.
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- $secrets := .Values.image.pullSecrets -}}
{{- /* The node pulls an image that is mounted with the pod's own secrets. */}}
{{- if and (eq .Values.models.source "image") .Values.models.pullSecret -}}
{{- $secrets = append $secrets .Values.models.pullSecret | uniq -}}
{{- end -}}
{{- with $secrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Where a component's pods run. Call with the component's values. */}}
{{- define "brainmvp.placement" -}}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Resources, with the GPU where one is asked for. Call with the component's values. */}}
{{- define "brainmvp.resources" -}}
{{- $resources := deepCopy .resources -}}
{{- if .gpu.enabled -}}
{{- $limits := merge (dict .gpu.resourceName (.gpu.count | toString)) ($resources.limits | default dict) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* A value of a setting as a variable's text; whole numbers stay whole. */}}
{{- define "brainmvp.text" -}}
{{- if kindIs "slice" . -}}{{- join "," . -}}
{{- else if and (kindIs "float64" .) (eq (float64 (int64 .)) .) -}}{{- int64 . -}}
{{- else -}}{{- toString . -}}
{{- end -}}
{{- end -}}

{{- define "brainmvp.scheme" -}}
{{- ternary "https" "http" (ne .Values.tls.secret "") -}}
{{- end -}}

{{- define "brainmvp.url" -}}
{{- printf "%s://%s:%v" (include "brainmvp.scheme" .) (include "brainmvp.fullname" .) .Values.service.port -}}
{{- end -}}

{{/* Mounts of the model folder. */}}
{{- define "brainmvp.modelsMount" -}}
- name: models
  mountPath: /models
  readOnly: true
  {{- if and (eq .Values.models.source "claim") .Values.models.subPath }}
  subPath: {{ .Values.models.subPath }}
  {{- end }}
{{- end -}}

{{- define "brainmvp.modelsVolume" -}}
- name: models
  {{- if eq .Values.models.source "claim" }}
  persistentVolumeClaim:
    claimName: {{ .Values.models.claim }}
  {{- else if eq .Values.models.source "image" }}
  image:
    reference: {{ .Values.models.reference | quote }}
    pullPolicy: {{ .Values.image.pullPolicy }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .Values.models.size }}
  {{- end }}
{{- end -}}
