-- Send every MR series that has come in completely to the BrainMVP listener, once.
--
-- Results (SEG, SR, OT) are no MR and go nowhere, so they cannot come back as studies. The listener
-- waits for the study to be quiet, so the order of its series does not matter; the server sets
-- localizers and the like aside and says so.

-- As in DicomModalities.
local LISTENER = 'brainmvp'

function OnStableSeries(seriesId, tags, metadata)
  if tags['Modality'] == 'MR' then
    -- A job of its own, so that Orthanc goes on meanwhile; SendToModality takes only instances.
    RestApiPost('/modalities/' .. LISTENER .. '/store', DumpJson({
      Resources = { seriesId },
      Synchronous = false
    }))
  end
end
