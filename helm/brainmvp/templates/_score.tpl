{{/* The pod of one batch. Call with (dict "root" $ "batch" $batch). */}}
{{- define "brainmvp.scorePod" -}}
{{- $values := .root.Values -}}
{{ include "brainmvp.podBase" .root }}
{{- /* An index counts its own failures only where the kubelet restarts nothing. */}}
restartPolicy: {{ ternary "Never" "OnFailure" (hasKey .batch "shards") }}
containers:
  - name: score
    image: {{ include "brainmvp.image" (dict "root" .root "kind" (ternary "gpu" "cpu" $values.server.gpu.enabled) "tag" $values.image.tag) }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    # --resume begins where there is no ledger, and goes on where there is one.
    args:
      - score
      - {{ .batch.model | quote }}
      - --out=/out/{{ .batch.folder | default .batch.model }}
      - --server={{ .batch.server | default (include "brainmvp.url" .root) }}
      - --resume
      - --quiet
      {{- if .batch.shards }}
      # A refusal is an answer: the pod that ends with it is not started again.
      - --allow-refused
      {{- end }}
      {{- with .batch.since }}
      - --since={{ . }}
      {{- end }}
      {{- range .batch.args }}
      - {{ . | quote }}
      {{- end }}
    securityContext:
      {{- toYaml $values.securityContext | nindent 6 }}
    {{- if or .batch.shards (and .batch.since .batch.timeZone) }}
    env:
      {{- with .batch.shards }}
      # Kubernetes itself sets JOB_COMPLETION_INDEX.
      - {name: BRAINMVP_SHARDS, value: {{ . | quote }}}
      {{- end }}
      {{- if and .batch.since .batch.timeZone }}
      # Whose yesterday.
      - {name: TZ, value: {{ .batch.timeZone | quote }}}
      {{- end }}
    {{- end }}
    {{- with .batch.secret }}
    envFrom:
      - secretRef:
          name: {{ . }}
    {{- end }}
    resources:
      {{- toYaml (.batch.resources | default (dict "requests" (dict "cpu" "500m" "memory" "512Mi") "limits" (dict "memory" "2Gi"))) | nindent 6 }}
    volumeMounts:
      - {name: out, mountPath: /out}
      - {name: tmp, mountPath: /tmp}
      {{- with .batch.studies }}
      - {name: studies, mountPath: /studies, readOnly: true}
      {{- end }}
volumes:
  - name: out
    persistentVolumeClaim: {claimName: {{ .batch.claim }}}
  - name: tmp
    emptyDir: {sizeLimit: 20Gi}
  {{- with .batch.studies }}
  - name: studies
    persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
  {{- end }}
{{- end -}}

{{/* What a Job says of its pods: one, or one a shard. Call with the batch. */}}
{{- define "brainmvp.scoreJob" -}}
{{- if .shards -}}
{{- if gt (int (.succeededShards | default 0)) (int .shards) -}}
{{- fail "score: succeededShards is more than there are shards" -}}
{{- end -}}
completionMode: Indexed
completions: {{ .shards }}
parallelism: {{ .parallelism | default .shards }}
# Every shard has failures of its own, and goes on with its ledger.
backoffLimitPerIndex: {{ ternary .backoffLimitPerIndex 6 (hasKey . "backoffLimitPerIndex") }}
{{- if hasKey . "maxFailedShards" }}
maxFailedIndexes: {{ .maxFailedShards }}
{{- end }}
podFailurePolicy:
  rules:
    # A drained node is no failure.
    - action: Ignore
      onPodConditions:
        - {type: DisruptionTarget, status: "True"}
{{- with .succeededShards }}
successPolicy:
  rules:
    - succeededCount: {{ . }}
{{- end }}
{{- else -}}
backoffLimit: 2
{{- end -}}
{{- end -}}
