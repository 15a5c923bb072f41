{{/* The pod of one batch. Call with (dict "root" $ "batch" $batch). */}}
{{- define "brainmvp.scorePod" -}}
{{- $values := .root.Values -}}
{{ include "brainmvp.podBase" .root }}
restartPolicy: OnFailure
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
      {{- range .batch.args }}
      - {{ . | quote }}
      {{- end }}
    securityContext:
      {{- toYaml $values.securityContext | nindent 6 }}
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
