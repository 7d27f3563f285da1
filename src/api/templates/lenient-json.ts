/**
 * JSON as deployments send it. `az deployment group create` puts the raw text of the template file behind an unquoted key:
 * `{"properties": {"mode": "Incremental", template:{...}}}`, with comments, trailing commas and newlines inside texts.
 * What is good JSON is read as such; else the text is mended outside its strings and read again.
 */
import { messageOf } from '#base'
import { ArmError } from '#contract'

/** One pass over the text: strings are copied (their raw newlines escaped), comments dropped, bare keys quoted. */
export function mendJson(text: string): string {
  const PIECE = /"(?:[^"\\]|\\[\s\S])*"|\/\/[^\n]*|\/\*[\s\S]*?\*\/|([{,]\s*)([A-Za-z_$][\w$]*)(\s*:)|,(?=\s*[}\]])/g
  return text.replaceAll(PIECE, (piece, before?: string, key?: string, after?: string) => {
    if (key !== undefined) return `${before ?? ''}"${key}"${after ?? ''}`
    if (piece.startsWith('"')) return piece.replaceAll('\r', '\\r').replaceAll('\n', '\\n').replaceAll('\t', '\\t')
    return piece === ',' ? '' : ' '
  })
}

/** @throws ArmError `InvalidRequestContent` */
export function parseLenientJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Not good JSON, as expected from az: the mended text decides.
  }
  try {
    return JSON.parse(mendJson(text))
  } catch (error) {
    throw new ArmError(
      'InvalidRequestContent',
      `The request content was invalid and could not be deserialized: ${messageOf(error)}.`,
    )
  }
}
