{{/*
The pod of a process that serves or works.
Call with (dict "root" $ "component" $.Values.server "role" "all").
*/}}
{{- define "brainmvp.servicePod" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $component := .component -}}
{{- $kind := ternary "gpu" "cpu" $component.gpu.enabled -}}
{{- $image := include "brainmvp.image" (dict "root" $root "kind" $kind "tag" $values.image.tag) -}}
{{- $startup := $values.startup -}}
{{- $end := $values.termination -}}
{{ include "brainmvp.podBase" $root }}
{{- with include "brainmvp.placement" $component }}
{{- . }}
{{- end }}
# preStop, then draining, then the studies' grace; the rest is for closing.
terminationGracePeriodSeconds: {{ add $end.preStopSeconds $end.drainSeconds $end.graceSeconds 15 }}
{{- if has $values.models.source (list "url" "oci") }}
initContainers:
  {{- include "brainmvp.fetch" (dict "root" $root "image" $image) | nindent 2 }}
{{- end }}
containers:
  - name: brainmvp
    image: {{ $image }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    args: [serve]
    securityContext:
      {{- toYaml $values.securityContext | nindent 6 }}
    env:
      {{- include "brainmvp.env" . | nindent 6 }}
      {{- with $component.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- if and $values.jobs.enabled $values.jobs.urlSecret }}
    envFrom:
      - secretRef:
          name: {{ $values.jobs.urlSecret }}
    {{- end }}
    ports:
      - name: http
        containerPort: {{ $values.service.port }}
    startupProbe:
      httpGet: {path: /health/live, port: http, scheme: {{ include "brainmvp.scheme" $root | upper }}}
      periodSeconds: {{ $startup.periodSeconds }}
      timeoutSeconds: 5
      failureThreshold: {{ divf (add $startup.budgetSeconds $startup.engineBuildSeconds) $startup.periodSeconds | ceil | int }}
    readinessProbe:
      httpGet: {path: /health/ready, port: http, scheme: {{ include "brainmvp.scheme" $root | upper }}}
      periodSeconds: 5
      timeoutSeconds: 5
      failureThreshold: 2
    livenessProbe:
      httpGet: {path: /health/live, port: http, scheme: {{ include "brainmvp.scheme" $root | upper }}}
      periodSeconds: 10
      timeoutSeconds: 10
      failureThreshold: 6
    {{- if $end.preStopSeconds }}
    lifecycle:
      preStop:
        exec:
          command: [sleep, {{ $end.preStopSeconds | quote }}]
    {{- end }}
    resources:
      {{- include "brainmvp.resources" $component | nindent 6 }}
    volumeMounts:
      {{- include "brainmvp.modelsMount" $root | nindent 6 }}
      - {name: scratch, mountPath: /scratch}
      - {name: tmp, mountPath: /tmp}
      {{- if and $values.auth.enabled $values.auth.keysSecret }}
      - {name: keys, mountPath: /etc/brainmvp/keys, readOnly: true}
      {{- end }}
      {{- if $values.tls.secret }}
      - {name: tls, mountPath: /etc/brainmvp/tls, readOnly: true}
      {{- end }}
      {{- if $values.jobs.enabled }}
      {{- if not $values.jobs.url }}
      - {name: jobs, mountPath: /jobs}
      {{- end }}
      {{- if $values.jobs.database.secret }}
      - {name: database, mountPath: /etc/brainmvp/database, readOnly: true}
      {{- end }}
      {{- end }}
      {{- with $component.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  {{- include "brainmvp.modelsVolume" $root | nindent 2 }}
  {{- if and (eq $values.models.source "oci") $values.models.pullSecret }}
  - name: oras
    secret: {secretName: {{ $values.models.pullSecret }}, defaultMode: 288}
  {{- end }}
  - name: scratch
    emptyDir:
      sizeLimit: {{ $values.scratch.size }}
      {{- with $values.scratch.medium }}
      medium: {{ . }}
      {{- end }}
  - name: tmp
    emptyDir: {sizeLimit: 1Gi}
  {{- if and $values.auth.enabled $values.auth.keysSecret }}
  - name: keys
    secret: {secretName: {{ $values.auth.keysSecret }}, defaultMode: 288} # 0440
  {{- end }}
  {{- if $values.tls.secret }}
  - name: tls
    secret: {secretName: {{ $values.tls.secret }}, defaultMode: 288}
  {{- end }}
  {{- if $values.jobs.enabled }}
  {{- if not $values.jobs.url }}
  - name: jobs
    persistentVolumeClaim:
      claimName: {{ $values.jobs.claim | default (printf "%s-jobs" (include "brainmvp.fullname" $root)) }}
  {{- end }}
  {{- if $values.jobs.database.secret }}
  - name: database
    secret: {secretName: {{ $values.jobs.database.secret }}, defaultMode: 288}
  {{- end }}
  {{- end }}
  {{- with $component.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The settings, as variables: first those of the chart, then those of the user. */}}
{{- define "brainmvp.env" -}}
{{- $values := .root.Values -}}
- {name: BRAINMVP_MODELS, value: /models}
- {name: BRAINMVP_HOST, value: 0.0.0.0}
- {name: BRAINMVP_PORT, value: {{ $values.service.port | quote }}}
- {name: BRAINMVP_SCRATCH, value: /scratch}
- {name: BRAINMVP_DRAIN_S, value: {{ $values.termination.drainSeconds | quote }}}
- {name: BRAINMVP_GRACE_S, value: {{ $values.termination.graceSeconds | quote }}}
- {name: BRAINMVP_ROLE, value: {{ .role }}}
{{- if not $values.auth.enabled }}
- {name: BRAINMVP_AUTH, value: "false"}
{{- if not (hasKey $values.settings "allowed_hosts") }}
- {name: BRAINMVP_ALLOWED_HOSTS, value: {{ include "brainmvp.names" .root | quote }}}
{{- end }}
{{- else if $values.auth.keysSecret }}
- {name: BRAINMVP_KEYS_FILE, value: /etc/brainmvp/keys/{{ $values.auth.keysSecretKey }}}
{{- end }}
{{- if $values.tls.secret }}
- {name: BRAINMVP_TLS_CERT, value: /etc/brainmvp/tls/tls.crt}
- {name: BRAINMVP_TLS_KEY, value: /etc/brainmvp/tls/tls.key}
{{- end }}
{{- if $values.jobs.enabled }}
- {name: BRAINMVP_JOBS_STORAGE, value: {{ $values.jobs.url | default "/jobs" }}}
{{- if $values.jobs.database.secret }}
- {name: BRAINMVP_JOBS_DATABASE_FILE, value: /etc/brainmvp/database/{{ $values.jobs.database.key }}}
{{- end }}
{{- if eq .role "worker" }}
- name: BRAINMVP_EXECUTOR
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- else if eq .role "all" }}
- {name: BRAINMVP_EXECUTOR, value: {{ include "brainmvp.fullname" .root }}}
{{- end }}
{{- end }}
{{- if not (hasKey $values.settings "log_format") }}
- {name: BRAINMVP_LOG_FORMAT, value: json}
{{- end }}
{{- range $name, $value := $values.settings }}
- {name: BRAINMVP_{{ upper $name }}, value: {{ include "brainmvp.text" $value | quote }}}
{{- end }}
{{- end -}}

{{/* The names that the service is called by; without keys it answers to no others. */}}
{{- define "brainmvp.names" -}}
{{- $name := include "brainmvp.fullname" . -}}
{{- $inside := printf "%s.%s" $name .Release.Namespace -}}
{{- $names := list $name $inside (printf "%s.svc" $inside) (printf "%s.svc.cluster.local" $inside) -}}
{{- if .Values.ingress.enabled -}}{{- $names = concat $names .Values.ingress.hosts -}}{{- end -}}
{{- if .Values.httpRoute.enabled -}}{{- $names = concat $names .Values.httpRoute.hostnames -}}{{- end -}}
{{- join "," $names -}}
{{- end -}}

{{/* Brings the bundles; nothing is served that does not have the digest asked for. */}}
{{- define "brainmvp.fetch" -}}
{{- $values := .root.Values -}}
- name: models
  {{- if eq $values.models.source "url" }}
  image: {{ .image }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  args: [fetch, {{ $values.models.url | quote }}, /models, --digest, {{ $values.models.digest | quote }}]
  {{- with $values.models.secret }}
  envFrom:
    - secretRef:
        name: {{ . }}
  {{- end }}
  {{- else }}
  image: {{ $values.models.orasImage }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  args: [pull, {{ $values.models.reference | quote }}, --output, /models{{ if $values.models.pullSecret }}, --registry-config, /etc/oras/.dockerconfigjson{{ end }}]
  env:
    - {name: HOME, value: /tmp}
  {{- end }}
  securityContext:
    {{- toYaml $values.securityContext | nindent 4 }}
  resources:
    requests: {cpu: 100m, memory: 256Mi}
    limits: {memory: 1Gi}
  volumeMounts:
    - {name: models, mountPath: /models}
    - {name: tmp, mountPath: /tmp}
    {{- if and (eq $values.models.source "oci") $values.models.pullSecret }}
    - {name: oras, mountPath: /etc/oras, readOnly: true}
    {{- end }}
{{- end -}}
