/** Who writes, for the record in packs, points and pins. */
export const PROGRAM_VERSION = '0.1.0'
export const WRITER = `holdfast ${PROGRAM_VERSION}`
