{{- define "brainmvp.exportPod" -}}
{{- $job := .Values.exportJob -}}
{{ include "brainmvp.podBase" . }}
{{- with include "brainmvp.placement" $job }}
{{- . }}
{{- end }}
restartPolicy: Never
containers:
  - name: export
    image: {{ include "brainmvp.image" (dict "root" . "kind" "export" "tag" $job.tag) }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args:
      - export
      {{- range $job.args }}
      - {{ . | quote }}
      {{- end }}
    securityContext:
      {{- toYaml .Values.securityContext | nindent 6 }}
    resources:
      {{- include "brainmvp.resources" $job | nindent 6 }}
    volumeMounts:
      - name: models
        mountPath: /models
        {{- with .Values.models.subPath }}
        subPath: {{ . }}
        {{- end }}
      - {name: tmp, mountPath: /tmp}
      - {name: checkpoints, mountPath: /work/checkpoints, readOnly: true}
volumes:
  - name: models
    persistentVolumeClaim: {claimName: {{ .Values.models.claim }}}
  - name: tmp
    emptyDir: {sizeLimit: 20Gi}
  - name: checkpoints
    persistentVolumeClaim: {claimName: {{ $job.claim }}, readOnly: true}
{{- end -}}
