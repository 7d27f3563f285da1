/** What `doctor` finds: every check says something, so that one that was forgotten does not look like one that is well. */
import { messageOf } from '#base'

export type Severity = 'well' | 'warning' | 'failed'

export type Finding = Readonly<{
  check: string
  severity: Severity
  /** One sentence. */
  says: string
  /** What to do about it. */
  remedy?: string
}>

export function well(check: string, says: string): Finding {
  return { check, severity: 'well', says }
}

export function warning(check: string, says: string, remedy: string): Finding {
  return { check, severity: 'warning', says, remedy }
}

export function failed(check: string, says: string, remedy: string): Finding {
  return { check, severity: 'failed', says, remedy }
}

/** Runs one check; what it cannot find out is a finding too. */
export async function tried(
  check: string,
  remedy: string,
  run: () => Promise<readonly Finding[]> | readonly Finding[],
): Promise<readonly Finding[]> {
  try {
    return await run()
  } catch (error) {
    return [failed(check, `It cannot be checked: ${messageOf(error)}`, remedy)]
  }
}
