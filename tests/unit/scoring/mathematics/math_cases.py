"""Pairs of answers that are and that are not the same, written for these tests."""

SAME = r"""
1/2 ; \frac12
\frac 12 ; \dfrac{1}{2}
\tfrac{1}{2} ; 0.5
.5 ; 1/2
-0.96 ; -\frac{24}{25}
\frac{-1}{2} ; -\frac12
-\frac{-1}{2} ; \frac12
\frac9{19} ; \frac{9}{19}
\frac{18}{38} ; \frac9{19}
1\frac{4}{5} ; 9/5
1 4/5 ; 1\frac{4}{5}
137.5 ; 137 \frac{1}{2}
5.0 ; 5
005 ; 5
+5 ; 5
{5} ; 5
$5$ ; 5
\(5\) ; 5
**5** ; 5
5. ; 5
10080 ; 10,\!080
10,080 ; 10,\!080
10{,}080 ; 10080
10\,080 ; 10080
58500 ; 58,500
1,234,567.5 ; 1234567.5
32348 ; \$32,\!348
$32,348 ; \$32,\!348
18.9 ; \$18.90
£36 ; \$36
50 ; 50\%
50% ; 50
90 ; 90^\circ
90^{\circ} ; 90
90° ; 90^\circ
90 degrees ; 90^\circ
15 ; 15\mbox{ cm}^2
15 cm^2 ; 15\mbox{ cm}^2
15cm^2 ; 15
15\text{ cm}^{2} ; 15\mbox{ cm}^2
864 square inches ; 864 \mbox{ inches}^2
5.4 cents ; 5.4 \text{ cents}
60 \text{ km}/\text{h} ; 60
12\pi\text{ cm}^3 ; 12\pi
12 \pi cm ; 12\pi
5\mathrm{m} ; 5
\text{2 hours} ; 2
8^\text{th} ; 8
8th ; 8
C ; \text{(C)}
(C) ; \text{(C)}
\textbf{(C)} ; \text{(C)}
$\text{C}$ ; \text{(C)}
evelyn ; \text{Evelyn}
\mathrm{Evelyn} ; \text{Evelyn}
\text{Evelyn}. ; \text{Evelyn}
-2,1 ; 1,-2
\{1,-2\} ; 1,-2
1;-2 ; 1,-2
x=1, x=-2 ; 1,-2
x = 1 \text{ or } x = -2 ; 1,-2
1 and -2 ; 1,-2
3, 5, \text{ and } 7 ; 3, 5, 7
3, 5, and 7 ; 7, 3, 5
(1,-2) ; 1,-2
6,31,-1 ; (6,31,-1)
(x,y,z) = (6,31,-1) ; (6,31,-1)
\left( 3 , \frac\pi2 \right) ; \left( 3, \frac{\pi}{2} \right)
-2 \le x \le 7 ; x \in [-2,7]
7 \geq x \geq -2 ; x \in [-2,7]
[-2,7] ; x \in [-2,7]
x>2 ; (2,\infty)
2<x ; (2,+\infty)
(2, infinity) ; (2,\infty)
-\sqrt{3} < x < \sqrt{3} ; (-\sqrt{3}, \sqrt{3})
(9,36)\cup(0,9) ; (0,9) \cup (9,36)
(0,9) U (9,36) ; (0,9) \cup (9,36)
x<2 or x>3 ; (-\infty, 2) \cup (3, \infty)
1+\sqrt{19},1-\sqrt{19} ; 1 \pm \sqrt{19}
x = 1 \pm \sqrt{19} ; 1 \pm \sqrt{19}
\pm 5 ; 5,-5
\{-2, 1+\sqrt5, 1-\sqrt5\} ; \{1\pm\sqrt{5},-2\}
\left\{1,2\right\} ; \lbrace 2,1\rbrace
\emptyset ; \{\}
5 ; x=5
x=5 ; 5
5 ; f(2) = 5
2x+3 ; y = 2x + 3
m+n=204 ; 204
2+3=5 ; 5
\frac{1}{3}\approx 0.333 ; \frac13
x\approx 5 ; 5
\begin{bmatrix} -1 & 0 \\ 0 & -1 \end{bmatrix} ; \begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix}
\begin{pmatrix} -\frac13 \\ 2/3 \\ 5/3 \end{pmatrix} ; \begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}
\left[\begin{array}{c}-2\\-14\\-7\end{array}\right] ; \begin{pmatrix} -2 \\ -14 \\ -7 \end{pmatrix}
2516_{8} ; 2516_8
\sqrt 3 ; \sqrt3
sqrt(3) ; \sqrt{3}
3√13 ; 3\sqrt{13}
12pi ; 12\pi
6-5\mathrm{i} ; 6-5i
"""

SAME_BY_ALGEBRA = r"""
y=3+2x ; y = 2x + 3
y - 2x = 3 ; y = 2x + 3
-5x + 7y - 4 = 0 ; 5x - 7y + 4 = 0
6.72 \times 10^{-5} ; .0000672
\frac{1}{\sqrt3} ; \frac{\sqrt{3}}{3}
(\sqrt2-1)^2 ; 3-2\sqrt{2}
11(\sqrt5+1) ; 11 \sqrt{5} + 11
x^3 - 6 + 3x ; x^3+3x-6
(3,0.5\pi) ; \left( 3, \frac{\pi}{2} \right)
2^{10} ; 1024
\binom{5}{2} ; 10
-5i+6 ; 6-5i
\frac{\cos x}{\sin x} ; \cot x
2\cdot k ; 2k
2(x+1) ; 2x+2
3\ln 2 ; \ln 8
x^{1/2} ; \sqrt x
\sqrt{21}/5 ; \frac{\sqrt{21}}{5}
"""

DIFFERENT = r"""
1/3 ; \frac12
0.333 ; \frac13
7.141428 ; \sqrt{51}
.0000670 ; .0000672
2(3) ; 5
52 ; 52_8
52_7 ; 52_8
42 ; 52_8
(1,2] ; [1,2]
(1,2) ; [1,2)
(2,1) ; (1,2)
\{2,1\} ; (1,2)
1,2,3 ; 1,2
1 ; 1,-2
1,1 ; 1,2
2x=10 ; 10
0 ; 5x - 7y + 11z + 4 = 0
5x - 7y + 11z - 4 = 0 ; 5x - 7y + 11z + 4 = 0
y=5 ; x=5
x=6 ; x=5
y=2x-3 ; y = 2x + 3
D ; \text{(C)}
\text{(C) or (D)} ; \text{(C)}
odd ; \text{even}
5 ; \text{even}
\text{Evelyn or Navin} ; \text{Evelyn}
\text{east} ; t
204.5 ; 204
2040 ; 204
1 2 ; 12
5 million ; 5
3 \mathbf{i} ; 3
3 xy ; 3
\frac{1}{2} bh ; \frac12
10,80 ; 1080
3 ; .
. ; 3
\infty ; -\infty
(3,4) ; (3,4]
x \in [-2,7) ; x \in [-2,7]
-2<x\le 7 ; x \in [-2,7]
x\ge2 ; (2,\infty)
x<2 ; (2,\infty)
1+\sqrt{19} ; 1 \pm \sqrt{19}
1 \pm \sqrt{18} ; 1 \pm \sqrt{19}
\begin{pmatrix} -1 & 0 & 0 & -1 \end{pmatrix} ; \begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix}
\begin{vmatrix} -1 & 0 \\ 0 & -1 \end{vmatrix} ; \begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix}
2\pi ; 2
6+5i ; 6-5i
2 ; \frac12
(9,36) ; (0,9) \cup (9,36)
\sqrt[3]{5} ; \sqrt{5}
5/0 ; 5
10 \text{ or } 12 ; 10
10 ; 10, 12
|x| ; x
90^2 ; 90^\circ
\tan x ; \cot x
((( ; 5
\frac{ ; 5
"""


def pairs(table: str) -> list[tuple[str, str]]:
    """(candidate, reference) of each line."""
    lines = (line.split(" ; ") for line in table.strip().splitlines())
    return [(candidate, reference) for candidate, reference in lines]
