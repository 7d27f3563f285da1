/**
 * Whether the long forms of tests are asked for: `script/test --long` (HOLDFAST_LONG=1). What is the same thing at a larger size, or with
 * more victims, is short otherwise; nothing is left out altogether.
 */
export const IS_LONG = process.env['HOLDFAST_LONG'] === '1'
