/* SPDX-License-Identifier: MIT
 *
 * A static program that exits with status 23.
 */
int main(void)
{
	return 23;
}
